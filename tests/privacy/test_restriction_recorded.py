"""Restriction and objection: the ledger, plain SQL, killed processes, and the replay after a restore."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import IntegrityError, connection

from accounts.models import User
from privacy.actions.anonymize import anonymize
from privacy.actions.erase import erase
from privacy.actions.pending import process_pending
from privacy.actions.replay import replay
from privacy.actions.restriction import (
    lift_restriction,
    restrict,
    resume_matching,
    stop_matching,
)
from privacy.declarations import Disposition
from privacy.ledger.book import entries_of
from privacy.ledger.entry import Kind
from privacy.ledger.outside import outside_ledger
from privacy.ledger.signing import verifying_keys
from privacy.ledger.verify import compare_ledgers
from privacy.local_dates import today
from privacy.models import AuditEntry
from privacy.models.request_choices import Processing
from privacy.registry import Effect
from tests.factories import ProfileEmbeddingFactory, UserFactory, VideoFactory
from tests.privacy.hiding import SWITCHES, actions_and_outcomes, pending, sql
from tests.privacy.life import full_life
from tests.privacy.shelf import Shelf, install_shelf
from tests.support.collections import live as live
from tests.support.commands import environment
from tests.support.database import database_parameters
from tests.support.processes import run_program
from tests.support.restored import restorable_postgres
from tests.support.seeds import kill_seeds
from tests.support.sessions import another_connection
from vectorstore.models import ProfileEmbedding
from vectorstore.sync.inline import point_of, sync_users
from vectorstore.sync.worker import sync_once

pytestmark = pytest.mark.django_db(transaction=True)

KINDS = {"restricted_at": (Kind.RESTRICT, Kind.UNDO_RESTRICT), "objected_at": (Kind.OBJECT, Kind.UNDO_OBJECT)}


@pytest.fixture
def only_shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """A shelf as the only store, and all owners, also that of the embeddings."""
    return install_shelf(monkeypatch)


def kinds(user_id: UUID) -> list[Kind]:
    return [entry.kind for entry in entries_of(user_id)]


# --- Ledger and plain SQL ---------------------------------------------------------------------------------------------------------


@SWITCHES
@pytest.mark.parametrize("role", ["origin", "replica"])
def test_update_by_sql__is_noted_and_recorded(column: str, on: Any, off: Any, role: str) -> None:
    person = UserFactory.create()
    sql(f"SET session_replication_role = {role}")
    sql(f"UPDATE users SET {column} = now() WHERE id = %s", person.pk)
    sql(f"UPDATE users SET {column} = now() + interval '1 s' WHERE id = %s", person.pk)
    sql(f"UPDATE users SET {column} = NULL WHERE id = %s", person.pk)
    sql("SET session_replication_role = origin")
    assert pending() == [(person.pk, kind) for kind in KINDS[column]]
    assert process_pending().completed == 2
    assert kinds(person.pk) == list(KINDS[column])
    assert compare_ledgers(outside_ledger(), verifying_keys()).is_sound


def test_change_while_restricted__is_accepted_and_recorded_for_that_user_only(shelf: Shelf) -> None:
    person, other = full_life(email="a@example.org"), full_life(email="b@example.org")
    restrict(person.pk)
    before = AuditEntry.objects.count()
    sql("UPDATE users SET full_name = 'New', bio = 'text of the user'")
    (entry,) = AuditEntry.objects.order_by("pk")[before:]
    role = database_parameters()["user"]
    assert (entry.action, entry.target_id, entry.outcome, entry.actor_account) == ("restricted_change", person.pk, "done", role)
    assert "text of the user" not in str(AuditEntry.objects.order_by("-pk").values()[0])
    assert set(User.objects.filter(pk__in=[person.pk, other.pk]).values_list("full_name", flat=True)) == {"New"}


@pytest.mark.parametrize(
    "change",
    [
        "last_login = now()",
        "deleted_at = now()",
        "objected_at = now()",
        "restricted_at = now()",
        "full_name = full_name",
        "email = 'deleted_' || id || '@findme.ai', full_name = 'Deleted User', bio = NULL, password_hash = '', deleted_at = NOW()",
    ],
)
def test_change_while_restricted__of_the_system_or_by_an_action__has_its_own_record(change: str, shelf: Shelf) -> None:
    person = full_life()
    restrict(person.pk)
    sql(f"UPDATE users SET {change} WHERE id = %s", person.pk)
    assert "restricted_change" not in dict(actions_and_outcomes())


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO videos (user_id, storage_url, duration, file_size) SELECT id, 'a film', 1, 1 FROM users",
        "UPDATE videos SET rejection_reason = 'too dark'",
        "UPDATE profile_embeddings SET interests = '{chess}'",
        "INSERT INTO profile_embeddings SELECT * FROM profile_embeddings ON CONFLICT (user_id) DO UPDATE SET vector = EXCLUDED.vector",
    ],
)
def test_rows_while_restricted__are_accepted_and_recorded_once_for_that_user_only(statement: str, only_shelf: Shelf) -> None:
    person, other = full_life(email="a@example.org"), UserFactory.create()
    VideoFactory.create(user=other)
    restrict(person.pk)
    before = AuditEntry.objects.count()
    sql(statement)
    (entry,) = AuditEntry.objects.order_by("pk")[before:]
    assert (entry.action, entry.target_id, entry.outcome) == ("restricted_change", person.pk, "done")


@pytest.mark.parametrize("act", [anonymize, erase, partial(stop_matching, processing=Processing.EMBEDDING)])
def test_rows_while_restricted__of_a_privacy_action__have_its_own_record(act: Callable[[UUID], object], only_shelf: Shelf) -> None:
    person = full_life()
    restrict(person.pk)
    act(person.pk)
    assert "restricted_change" not in dict(actions_and_outcomes())


@pytest.mark.parametrize(
    ("table", "statements"),
    [
        ("users", ["UPDATE users SET verified = NOT verified"]),
        ("videos", ["UPDATE videos SET status = 'processing'", "UPDATE videos SET status = 'processing'"]),
    ],
)
def test_change_while_restricted__by_a_role_without_rights_on_the_log(table: str, statements: list[str], only_shelf: Shelf) -> None:
    """The bulk UPDATE of a service must not fail because of one row."""
    person = full_life()
    restrict(person.pk)
    role = f"writer_{uuid4().hex[:8]}"
    sql(f"CREATE ROLE {role}")
    try:
        sql(f"GRANT SELECT, UPDATE ON {table} TO {role}")
        with connection.cursor() as cursor:
            cursor.execute(f"SET ROLE {role}")
            try:
                for statement in statements:
                    cursor.execute(statement)
            finally:
                cursor.execute("RESET ROLE")
        assert dict(actions_and_outcomes())["restricted_change"] == "done"
    finally:
        sql(f"DROP OWNED BY {role}")
        sql(f"DROP ROLE {role}")


def test_informed_on__only_for_a_lifting() -> None:
    with (
        pytest.raises(IntegrityError, match="audit_log_informed_on_check"),
        another_connection() as other,
        other.cursor() as session,
    ):
        session.execute(
            "INSERT INTO audit_log (actor_account, action, target_id, outcome, informed_on) VALUES ('me', 'restrict', gen_random_uuid(), 'done', now())"
        )


# --- Embedding -------------------------------------------------------------------------------------------------------------------


def test_stop__of_the_embedding__deletes_it_after_the_entry(only_shelf: Shelf) -> None:
    person = full_life()
    ProfileEmbedding.objects.filter(pk=person.pk).delete()
    ProfileEmbeddingFactory.create(user=person)
    outcome = stop_matching(person.pk, Processing.EMBEDDING)
    assert Effect("embeddings", 1, Disposition.DELETED) in outcome.effects
    assert not ProfileEmbedding.objects.filter(pk=person.pk).exists()
    (entry,) = entries_of(person.pk)
    assert (entry.kind, entry.counts, pending()) == (Kind.OBJECT, {"vector_store": 1}, [])
    process_pending()
    assert kinds(person.pk) == [Kind.OBJECT]


def test_stop__of_the_embedding_after_an_objection_to_the_matching__is_recorded_too(only_shelf: Shelf) -> None:
    person = ProfileEmbeddingFactory.create().user
    stop_matching(person.pk)
    process_pending()
    stop_matching(person.pk, Processing.EMBEDDING)
    stop_matching(person.pk, Processing.EMBEDDING)
    assert [(entry.kind, dict(entry.counts)) for entry in entries_of(person.pk)] == [(Kind.OBJECT, {}), (Kind.OBJECT, {"vector_store": 1})]
    assert pending() == []


def test_stop__of_the_embedding__killed_after_the_entry__is_completed(only_shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    person = ProfileEmbeddingFactory.create().user

    class Killed(BaseException):
        """The process ends here, so nothing is undone."""

    def die(*_arguments: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("privacy.actions.restriction._switch_on", die)
        patched.setattr("privacy.actions.recording._undo", die)
        with pytest.raises(Killed):
            stop_matching(person.pk, Processing.EMBEDDING)
    assert ProfileEmbedding.objects.filter(pk=person.pk).exists()
    assert (kinds(person.pk), pending()) == ([Kind.OBJECT], [(person.pk, Kind.OBJECT)])
    process_pending()
    assert not ProfileEmbedding.objects.filter(pk=person.pk).exists()
    assert User.objects.get(pk=person.pk).objected_at is not None
    process_pending()
    assert (kinds(person.pk), pending()) == ([Kind.OBJECT], [])


def test_stop__of_the_embedding__killed_before_the_entry__leaves_nothing(only_shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an entry the counts are unknown, so ``process_pending`` could not complete the action."""
    person = ProfileEmbeddingFactory.create().user

    class Killed(BaseException):
        """The process ends here."""

    def die(*_arguments: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("privacy.actions.recording.record_entries", die)
        with pytest.raises(Killed):
            stop_matching(person.pk, Processing.EMBEDDING)
    assert pending() == []
    process_pending()
    assert (kinds(person.pk), User.objects.get(pk=person.pk).objected_at) == ([], None)


KILLED = """
import sys
import django
django.setup()
from uuid import UUID
from django.db.backends.utils import CursorWrapper
from privacy.actions.restriction import restrict, stop_matching
from privacy.ledger import outside
from privacy.models.request_choices import Processing
from tests.support.killing import kill_at_call

nth, action, user_id = int(sys.argv[1]), sys.argv[2], UUID(sys.argv[3])
kill_at_call([(CursorWrapper, "execute"), (outside.FolderLedger, "create"), (outside.FolderLedger, "read")], nth)
restrict(user_id) if action == "restrict" else stop_matching(user_id, Processing(action))
"""


@pytest.mark.parametrize("seed", kill_seeds(3))
def test_switch__killed_over_and_over__ends_complete_and_recorded_once(seed: int, live: str) -> None:
    """Kill the process at a random statement or access to the ledger, some times. Then a worker and ``process_pending`` complete what it began."""
    chance = random.Random(seed)  # a fixed seed, no secret
    action = chance.choice(["restrict", "matching", "embedding"])
    column, kind = ("restricted_at", Kind.RESTRICT) if action == "restrict" else ("objected_at", Kind.OBJECT)
    person = ProfileEmbeddingFactory.create().user
    sync_users([person.pk])
    for nth in (str(chance.randrange(45)) for _ in range(3)):
        killed = run_program(environment(), "-c", KILLED, nth, action, person.pk)
        assert killed.returncode in (-9, 0), killed.stderr
        has_embedding = ProfileEmbedding.objects.filter(pk=person.pk).exists()
        assert has_embedding or kinds(person.pk), "destroyed without an entry"
    while process_pending().completed:
        pass
    sync_once()
    is_done = getattr(User.objects.get(pk=person.pk), column) is not None
    assert (kinds(person.pk), pending()) == ([kind] if is_done else [], [])
    assert (point_of(person.pk) is None) == is_done
    assert ProfileEmbedding.objects.filter(pk=person.pk).exists() == (action != "embedding" or not is_done)
    assert compare_ledgers(outside_ledger(), verifying_keys()).is_sound


# --- Replay -----------------------------------------------------------------------------------------------------------------------


def test_replay__repeats_and_undoes(only_shelf: Shelf) -> None:
    restricted, lifted, objecting, resumed, both, untouched = [ProfileEmbeddingFactory.create().user.pk for _ in range(6)]
    restrict(lifted)
    stop_matching(resumed)
    process_pending()
    with restorable_postgres() as restore:
        restrict(restricted)
        lift_restriction(lifted, informed_on=today())
        stop_matching(objecting)
        resume_matching(resumed)
        restrict(both)
        stop_matching(both, Processing.EMBEDDING)
        process_pending()
        restore()
        only_shelf.ids |= {restricted, objecting, both, untouched}
        planned = replay(dry_run=True)
        assert not User.objects.filter(pk=restricted, restricted_at__isnull=False).exists()
        done = replay()
        expected = {"Restrict": 2, "Lift a restriction": 1, "Object": 2, "Withdraw an objection": 1}
        assert (planned.repeated, done.repeated, done.waiting) == (expected, expected, {})
        state = {
            user_id: (restricted_at is not None, objected_at is not None)
            for user_id, restricted_at, objected_at in User.objects.values_list("pk", "restricted_at", "objected_at")
        }
        assert state == {
            restricted: (True, False),
            lifted: (False, False),
            objecting: (False, True),
            resumed: (False, False),
            both: (True, True),
            untouched: (False, False),
        }
        assert only_shelf.ids == {untouched}
        assert set(ProfileEmbedding.objects.values_list("pk", flat=True)) == {restricted, lifted, objecting, resumed, untouched}
        process_pending()
        assert replay().repeated == {}
        assert compare_ledgers(outside_ledger(), verifying_keys()).is_sound


def test_replay__embedding_that_came_back_with_an_objection_in_force(only_shelf: Shelf) -> None:
    person = ProfileEmbeddingFactory.create().user
    stop_matching(person.pk)
    process_pending()
    with restorable_postgres() as restore:
        stop_matching(person.pk, Processing.EMBEDDING)
        restore()
        assert ProfileEmbedding.objects.filter(pk=person.pk).exists()
        assert replay().repeated == {"Object": 1}
        assert not ProfileEmbedding.objects.filter(pk=person.pk).exists()
        assert replay().repeated == {}
