"""The ledger has an erasure before anything is destroyed, once, whatever happens then. No user leaves unseen."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.conf import settings
from django.db import connection

from accounts.models import User
from findme.core.errors import StoreUnavailable, UserFacingError
from privacy.actions.anonymize import anonymize
from privacy.actions.erase import erase, soft_delete
from privacy.actions.pending import process_pending
from privacy.actions.restriction import lift_restriction, restrict, resume_matching, stop_matching
from privacy.actions.undo_erasure import undo_erasures
from privacy.ledger.book import entries_of, read_entries
from privacy.ledger.entry import Kind
from privacy.ledger.outside import outside_ledger
from privacy.ledger.signing import verifying_keys
from privacy.ledger.verify import compare_ledgers
from privacy.local_dates import today
from privacy.models import ErasedUser, LedgerEntry, PendingAction
from privacy.users import anonymized_email
from tests.factories import ProfileEmbeddingFactory, UserFactory
from tests.privacy.life import full_life
from tests.privacy.shelf import Shelf
from tests.support.collections import live as live
from tests.support.commands import environment
from tests.support.processes import run_program
from tests.support.seeds import kill_seeds
from tests.support.sessions import another_connection
from vectorstore.models import ProfileEmbedding
from videos.models import Video

pytestmark = pytest.mark.django_db(transaction=True)

ERASE, ANONYMIZE, HIDE, SHOW = Kind.ERASE, Kind.ANONYMIZE, Kind.SOFT_DELETE, Kind.UNDO_SOFT_DELETE


def kinds(user_id: UUID) -> list[Kind]:
    return [entry.kind for entry in entries_of(user_id)]


def pending() -> list[tuple[UUID, Kind]]:
    return [(row.user_id, Kind(row.kind)) for row in PendingAction.objects.order_by("pk")]


def sql(statement: str, *values: Any, role: str = "origin") -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET session_replication_role = {role}")
        cursor.execute(statement, values)
        cursor.execute("SET session_replication_role = origin")


# --- Actions ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("remove", "kind"), [(erase, ERASE), (anonymize, ANONYMIZE)])
def test_removal__is_recorded_with_counts_before_it_begins(remove: Callable[[UUID], Any], kind: Kind, shelf: Shelf) -> None:
    person = full_life()
    shelf.ids.add(person.pk)
    seen: list[Any] = []
    shelf.before_removal = lambda: seen.extend(outside_ledger().firsts())
    remove(person.pk)
    assert seen == [1]
    (entry,) = entries_of(person.pk)
    assert (entry.kind, entry.counts["videos"], entry.counts["matches"], entry.counts["calls"]) == (kind, 5, 2, 4)
    assert pending() == []
    assert compare_ledgers(outside_ledger(), verifying_keys()).is_sound


def test_removal__a_second_time__is_recorded_once(shelf: Shelf) -> None:
    person = full_life()
    anonymize(person.pk)
    anonymize(person.pk)
    erase(person.pk)
    shelf.ids.add(person.pk)
    erase(person.pk)
    assert kinds(person.pk) == [ANONYMIZE, ERASE]


@pytest.mark.parametrize("remove", [erase, anonymize])
def test_removal__ledger_unavailable__nothing_is_destroyed(remove: Callable[[UUID], Any], shelf: Shelf, tmp_path: Path) -> None:
    person = full_life()
    shelf.ids.add(person.pk)
    settings.ERASURE_LEDGER_URL, before = str(tmp_path / "not mounted"), settings.ERASURE_LEDGER_URL
    try:
        with pytest.raises(StoreUnavailable, match="not mounted"):
            remove(person.pk)
    finally:
        settings.ERASURE_LEDGER_URL = before
    assert User.objects.get(pk=person.pk).email == person.email
    assert shelf.ids == {person.pk}
    assert (pending(), kinds(person.pk)) == ([], [])


@pytest.mark.parametrize(("remove", "kind"), [(erase, ERASE), (anonymize, ANONYMIZE)])
def test_removal__that_fails__is_undone_in_the_ledger(remove: Callable[[UUID], Any], kind: Kind, shelf: Shelf) -> None:
    person = full_life()
    with another_connection() as other, other.cursor() as cursor:
        cursor.execute("BEGIN; SELECT FROM users WHERE id = %s FOR UPDATE", [person.pk])
        with pytest.raises(UserFacingError, match="Another transaction holds the rows"):
            remove(person.pk)
        cursor.execute("ROLLBACK")
    assert (kinds(person.pk), pending()) == ([kind, Kind(kind + 1)], [])
    process_pending()
    assert User.objects.filter(pk=person.pk, email=person.email).exists()
    remove(person.pk)
    assert kinds(person.pk) == [kind, Kind(kind + 1), kind]


def test_removal__refused_at_once__is_not_recorded(shelf: Shelf) -> None:
    person = UserFactory.create(superuser=True)
    for remove in (erase, anonymize):
        with pytest.raises(UserFacingError, match="is the last active superuser"):
            remove(person.pk)
        with pytest.raises(UserFacingError):
            remove(uuid4())
    assert not LedgerEntry.objects.exists()
    assert pending() == []


def test_removal__unconfirmed__stays_pending_and_is_completed(shelf: Shelf) -> None:
    person = full_life()
    shelf.ids.add(person.pk)
    shelf.after_removal = shelf.fail
    with pytest.raises(StoreUnavailable):
        erase(person.pk)
    assert pending() == [(person.pk, ERASE)]
    waiting = process_pending()
    assert (waiting.completed, list(waiting.waiting)) == (0, [person.pk])
    shelf.reachable, shelf.after_removal = True, lambda: None
    assert process_pending().completed == 1
    assert not User.objects.filter(pk=person.pk).exists()
    assert (kinds(person.pk), pending()) == ([ERASE], [])


KILLED = """
import sys
import django
django.setup()
from importlib import import_module
from uuid import UUID
from django.db.backends.utils import CursorWrapper
from privacy.ledger import outside
from tests.support.killing import kill_at_call

nth, action, user_id = int(sys.argv[1]), sys.argv[2], UUID(sys.argv[3])
kill_at_call([(CursorWrapper, "execute"), (outside.FolderLedger, "create"), (outside.FolderLedger, "read")], nth)
getattr(import_module("privacy.actions." + action), action)(user_id)
"""


@pytest.mark.parametrize("seed", kill_seeds(6))
def test_removal__killed_over_and_over__ends_complete_and_recorded_once(seed: int, shelf: Shelf, live: str) -> None:
    """Kill the process at a random statement or access to the ledger, some times, and let ``process_pending`` complete the action."""
    chance = random.Random(seed)  # a fixed seed, no secret
    action = chance.choice(["erase", "anonymize"])
    person = full_life()
    calls = (str(chance.randrange(80)) for _ in range(3))
    for nth in calls:
        killed = run_program(environment(), "-c", KILLED, nth, action, person.pk)
        row = User.objects.filter(pk=person.pk).first()
        destroyed = row is None or row.email != person.email
        assert not destroyed or kinds(person.pk), "destroyed without an entry"
        assert killed.returncode in (-9, 0, 2), killed.stderr
    while process_pending().completed:
        pass
    {"erase": erase, "anonymize": anonymize}[action](person.pk) if not kinds(person.pk) else None
    assert kinds(person.pk) == [ERASE if action == "erase" else ANONYMIZE]
    assert (pending(), compare_ledgers(outside_ledger(), verifying_keys()).is_sound) == ([], True)
    assert not User.objects.filter(pk=person.pk, email=person.email).exists()


def test_complete_action__another_process_completes_it_meanwhile__is_no_error(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command erases the user after this process has read the note."""
    person = full_life()
    sql("DELETE FROM users WHERE id = %s", person.pk)

    def erase_too_late(user_id: UUID) -> Any:
        erase(user_id)
        return erase(user_id)

    with pytest.raises(UserFacingError, match="Neither PostgreSQL nor"):
        erase_too_late(uuid4())
    monkeypatch.setattr("privacy.actions.pending.erase", erase_too_late)
    result = process_pending()
    assert (result.completed, result.waiting, pending()) == (1, {}, [])
    assert kinds(person.pk) == [ERASE]


# --- Hiding -----------------------------------------------------------------------------------------------------------------------


def resume_after_objection(user_id: UUID) -> None:
    stop_matching(user_id)
    resume_matching(user_id)


def lift_after_restriction(user_id: UUID) -> None:
    restrict(user_id)
    lift_restriction(user_id, informed_on=today())


HIDINGS = pytest.mark.parametrize(
    ("hide", "expected"),
    [
        (soft_delete, [HIDE]),
        (restrict, [Kind.RESTRICT]),
        (stop_matching, [Kind.OBJECT]),
        (lift_after_restriction, [Kind.RESTRICT, Kind.UNDO_RESTRICT]),
        (resume_after_objection, [Kind.OBJECT, Kind.UNDO_OBJECT]),
    ],
)


@HIDINGS
def test_hiding__is_in_the_ledger_outside_when_it_returns(hide: Callable[[UUID], Any], expected: list[Kind], shelf: Shelf) -> None:
    """Otherwise the entry would be lost together with a database that is lost in the next seconds."""
    person = full_life()
    seen: list[Any] = []
    shelf.before_removal = lambda: seen.append(outside_ledger().firsts())
    shelf.ids.add(person.pk)
    hide(person.pk)
    assert (kinds(person.pk), pending()) == (expected, [])
    assert seen == [[1]]
    assert len(outside_ledger().firsts()) == len(expected)


@HIDINGS
def test_hiding__ledger_unavailable__is_done_and_recorded_by_the_worker(
    hide: Callable[[UUID], Any], expected: list[Kind], shelf: Shelf, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    person = full_life()
    settings.ERASURE_LEDGER_URL, before = str(tmp_path / "not mounted"), settings.ERASURE_LEDGER_URL
    try:
        hide(person.pk)
    finally:
        settings.ERASURE_LEDGER_URL = before
    assert kinds(person.pk) == []
    assert [kind for _, kind in pending()] == expected
    assert "process_requests will add it" in caplog.messages[0]
    process_pending()
    assert (kinds(person.pk), pending()) == (expected, [])


@HIDINGS
def test_hiding__killed_after_the_commit__is_recorded_by_the_worker(
    hide: Callable[[UUID], Any], expected: list[Kind], shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = full_life()

    class Killed(BaseException):
        """The process ends here."""

    def die(*_arguments: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("privacy.actions.notes.record_missing", die)
        with pytest.raises(Killed):
            hide(person.pk)
    assert [kind for _, kind in pending()] == expected[:1]
    process_pending()
    assert (kinds(person.pk), pending()) == (expected[:1], [])


def test_hiding__leaves_other_notes_of_the_user_to_the_worker(shelf: Shelf) -> None:
    """The ledger has the notes in their order. What they ask for is not done by the command."""
    person = full_life()
    PendingAction.objects.create(user_id=person.pk, kind=ANONYMIZE)
    restrict(person.pk)
    assert kinds(person.pk) == [ANONYMIZE, Kind.RESTRICT]
    assert pending() == [(person.pk, ANONYMIZE)]


# --- Plain SQL --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["origin", "replica"])
def test_delete_by_sql__is_noted_in_its_transaction_and_completed(role: str, shelf: Shelf) -> None:
    person, other = full_life(), UserFactory.create()
    shelf.ids |= {person.pk, other.pk}
    sql("DELETE FROM users WHERE id = %s", person.pk)
    assert pending() == [(person.pk, ERASE)]
    result = process_pending()
    assert (result.recorded, result.completed, result.waiting) == (1, 1, {})
    assert (kinds(person.pk), pending(), shelf.ids) == ([ERASE], [], {other.pk})
    assert process_pending().completed == 0


def test_anonymization_by_sql__of_the_guide__is_completed(shelf: Shelf) -> None:
    """The guide's UPDATE leaves the addresses of files."""
    person = full_life()
    shelf.ids.add(person.pk)
    sql(
        "UPDATE users SET email = 'deleted_' || id || '@findme.ai', full_name = 'Deleted User', bio = NULL, password_hash = '', deleted_at = NOW()"
        " WHERE id = %s",
        person.pk,
    )
    assert pending() == [(person.pk, ANONYMIZE), (person.pk, HIDE)]
    result = process_pending()
    assert (result.completed, result.waiting) == (2, {})
    assert kinds(person.pk) == [ANONYMIZE, HIDE]
    assert not Video.objects.filter(user=person).exclude(storage_url="").exists()
    assert shelf.ids == set()


def test_soft_deletion_and_its_undoing__are_recorded_and_change_nothing_more(shelf: Shelf) -> None:
    person = full_life()
    soft_delete(person.pk)
    process_pending()
    sql("UPDATE users SET deleted_at = NULL WHERE id = %s", person.pk)
    process_pending()
    sql("UPDATE users SET deleted_at = NOW() WHERE id = %s", person.pk)
    sql("UPDATE users SET deleted_at = NULL WHERE id = %s", person.pk)
    process_pending()
    assert kinds(person.pk) == [HIDE, SHOW, HIDE, SHOW]
    assert pending() == []
    assert ProfileEmbedding.objects.filter(pk=person.pk).exists()


def test_truncate__notes_every_user_first(shelf: Shelf) -> None:
    users = {UserFactory.create().pk for _ in range(3)}
    sql("TRUNCATE users CASCADE")
    assert {user for user, kind in pending() if kind is ERASE} == users
    assert process_pending().completed == 3
    assert [entry.kind for entry in read_entries()] == [ERASE] * 3


@pytest.mark.parametrize(
    ("statement", "expected"), [("DELETE FROM users WHERE id = %s", [ERASE]), ("UPDATE users SET deleted_at = NOW() WHERE id = %s", [HIDE])]
)
def test_session_without_ordinary_triggers__is_noted_too(statement: str, expected: list[Kind]) -> None:
    person = UserFactory.create()
    sql(statement, person.pk, role="replica")
    assert [kind for _, kind in pending()] == expected


def test_undone_erasure__is_recorded(shelf: Shelf) -> None:
    person = full_life()
    anonymize(person.pk)
    undo_erasures([person.pk])
    erased = UserFactory.create()
    erase(erased.pk)
    sql("DELETE FROM erased_users WHERE user_id = %s", erased.pk)
    process_pending()
    assert kinds(person.pk) == [ANONYMIZE, Kind.UNDO_ANONYMIZE]
    assert kinds(erased.pk) == [ERASE, Kind.UNDO_ERASE]
    assert not ErasedUser.objects.exists()


def test_new_row_with_the_address_of_an_anonymized_user__is_no_action(shelf: Shelf) -> None:
    """A loaded dump has anonymized users. Their entries are in the ledger that was loaded from."""
    user_id = uuid4()
    UserFactory.create(anonymized=True, id=user_id, email=anonymized_email(user_id))
    assert pending() == []


def test_many_users_at_once__are_recorded_in_one_object(shelf: Shelf) -> None:
    for _ in range(4):
        ProfileEmbeddingFactory.create()
    sql("DELETE FROM users")
    assert process_pending().recorded == 4
    assert outside_ledger().firsts() == [1]
