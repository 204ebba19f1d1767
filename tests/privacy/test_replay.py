"""The drill: back up, erase, restore, see the user there, replay, see the user in neither store."""

from __future__ import annotations

import json
import shutil
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.conf import settings
from django.core.management import call_command

from accounts.models import User
from findme.core.errors import StoreUnavailable, UserFacingError
from findme.web.health.probes import probe_postgresql
from findme.web.health.report import Status
from privacy.actions import replay as replay_module
from privacy.actions.anonymize import anonymize
from privacy.actions.erase import erase, soft_delete
from privacy.actions.last_entries import LastEntries
from privacy.actions.pending import process_pending
from privacy.actions.replay import replay
from privacy.actions.undo_erasure import undo_erasures
from privacy.ledger import gate
from privacy.ledger.book import NewEntry, read_entries
from privacy.ledger.entry import Kind, LedgerBroken
from privacy.ledger.gate import GATE
from privacy.ledger.keys import rotate_keys, subject_keys
from privacy.ledger.outside import outside_ledger
from privacy.ledger.publication import LedgerBehind, record_entries
from privacy.ledger.signing import verifying_keys
from privacy.ledger.verify import compare_ledgers
from privacy.models import LedgerEntry
from tests.factories import UserFactory
from tests.privacy.life import full_life
from tests.privacy.shelf import Shelf
from tests.support.restored import restorable_postgres
from vectorstore.search.criteria import SearchQuery
from vectorstore.search.engine import search

pytestmark = pytest.mark.django_db(transaction=True)


def someone(number: int) -> UUID:
    user_id: UUID = full_life(email=f"someone{number}@example.org").pk
    return user_id


def replay_command() -> tuple[int, str, str]:
    """Run the command without the system checks, because the shelf has replaced an owner."""
    out, err = StringIO(), StringIO()
    try:
        call_command("replay_erasures", stdout=out, stderr=err)
    except SystemExit as ended:
        return int(str(ended.code)), out.getvalue(), err.getvalue()
    return 0, out.getvalue(), err.getvalue()


def is_sound() -> bool:
    return compare_ledgers(outside_ledger(), verifying_keys()).is_sound


def test_drill__every_action_is_repeated(shelf: Shelf) -> None:
    erased, anonymized, hidden, shown, undone, untouched, twice = users = [someone(number) for number in range(7)]
    soft_delete(shown)
    process_pending()
    anonymize(undone)
    with restorable_postgres() as restore:
        erase(erased)
        anonymize(anonymized)
        soft_delete(hidden)
        User.objects.filter(pk=shown).update(deleted_at=None)
        undo_erasures([undone])
        anonymize(twice)
        erase(twice)
        process_pending()
        restore()
        shelf.ids |= {*users}
        assert User.objects.filter(pk__in=[erased, anonymized, twice], email__startswith="someone").count() == 3
        GATE.forget()
        with pytest.raises(LedgerBehind, match=r"Run manage\.py replay_erasures\.$"):
            search(SearchQuery(vector=[1.0] + [0.0] * 511))
        planned = replay(dry_run=True)
        assert User.objects.filter(pk=erased).exists()
        code, printed, _ = replay_command()
        assert code == 0
        assert printed == (
            "9 entries in the ledger outside, 7 copied to PostgreSQL.\n"
            "Anonymize: repeated for 1 user.\n"
            "Erase: repeated for 2 users.\n"
            "Soft delete: repeated for 1 user.\n"
            "Undo a soft deletion: repeated for 1 user.\n"
            "Undo an anonymization: repeated for 1 user.\n"
        )
        assert (planned.copied, sum(planned.repeated.values())) == (7, 6)
        assert not User.objects.filter(pk__in=[erased, twice]).exists()
        assert User.objects.get(pk=anonymized).full_name == "Deleted User"
        assert User.objects.get(pk=hidden).deleted_at is not None
        assert User.objects.get(pk=shown).deleted_at is None
        assert User.objects.get(pk=untouched).email == "someone5@example.org"
        assert shelf.ids == {shown, undone, untouched}
        assert not search_is_closed()
        process_pending()
        assert is_sound()
        assert LedgerEntry.objects.count() == 9
        again = replay()
        assert (again.copied, again.repeated) == (0, {})


def readiness_of_the_ledger() -> Status:
    return probe_postgresql().ledger


def search_is_closed() -> bool:
    try:
        GATE.require_current()
    except LedgerBehind:
        return True
    return False


def test_replay__before_it__no_erasure_and_no_search(shelf: Shelf) -> None:
    first, second = someone(1), someone(2)
    with restorable_postgres() as restore:
        erase(first)
        restore()
        with pytest.raises(LedgerBehind):
            erase(second)
        assert User.objects.filter(pk=second).exists()
        assert search_is_closed()
        replay()
        erase(second)
        assert is_sound()


def test_replay__killed_after_the_copy__no_search_before_it_has_ended(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database then has all entries, and erased users are still there."""
    users = [someone(number) for number in range(3)]

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with restorable_postgres() as restore:
        for user in users:
            erase(user)
        restore()
        for name, copied in (("_copy", 0), ("_concerned", 3)):
            with monkeypatch.context() as patched:
                patched.setattr(f"privacy.actions.replay.{name}", die)
                with pytest.raises(KeyboardInterrupt):
                    replay()
            assert LedgerEntry.objects.count() == copied
            GATE.forget()
            assert search_is_closed()
            assert readiness_of_the_ledger() is Status.RESTORED
        assert replay().repeated == {"Erase": 3}
        assert not search_is_closed()


def test_replay__killed_within_an_object__no_entry_is_published_there(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    users = [someone(number) for number in range(4)]
    with restorable_postgres() as restore:
        with monkeypatch.context() as patched:
            patched.setattr("privacy.ledger.publication.BATCH_SIZE", 3)
            record_entries([NewEntry(Kind.ERASE, user) for user in users[:3]])
        restore()
        copied: list[object] = []

        def copy_and_die(*arguments: Any) -> None:
            if copied:
                raise KeyboardInterrupt
            copied.append(copy(*arguments))

        copy = replay_module._copy
        monkeypatch.setattr(replay_module, "BATCH_SIZE", 2)
        with monkeypatch.context() as patched:
            patched.setattr(replay_module, "_copy", copy_and_die)
            with pytest.raises(KeyboardInterrupt):
                replay()
        assert LedgerEntry.objects.count() == 2
        with pytest.raises(LedgerBehind):
            erase(users[3])
        assert outside_ledger().firsts() == [1]
        replay()
        erase(users[3])
        assert is_sound()


def test_replay__store_unavailable__says_who_waits_and_continues_later(shelf: Shelf) -> None:
    users = [someone(number) for number in range(3)]
    with restorable_postgres() as restore:
        for user in users:
            erase(user)
        restore()
        shelf.reachable = False
        code, printed, errors = replay_command()
        assert code == 1
        assert "3 users must wait. Run manage.py replay_erasures again.\n" in printed
        assert {line.split(":")[0] for line in errors.splitlines()} == {str(user) for user in users}
        assert User.objects.filter(pk__in=users).count() == 3
        assert search_is_closed()
        shelf.reachable = True
        assert replay().repeated == {"Erase": 3}
        assert not User.objects.filter(pk__in=users).exists()


def test_replay__forked_ledger__changes_nothing(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """The restored copy has recorded an entry before the replay, with a ledger of its own."""
    first, second = someone(1), someone(2)
    with restorable_postgres() as restore:
        erase(first)
        restore()
        own = Path(settings.ERASURE_LEDGER_URL).with_name("own")
        monkeypatch.setattr(settings, "ERASURE_LEDGER_URL", str(own))
        erase(second)
        monkeypatch.undo()
        with pytest.raises(LedgerBroken, match="Entry 1 of the ledger outside is another one than in the database: nothing was changed"):
            replay()
        assert User.objects.filter(pk=first).exists()


def test_replay__missing_key__is_one_line(shelf: Shelf, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    erase(someone(1))
    monkeypatch.setattr(settings, "ERASURE_LEDGER_KEYS", str(tmp_path / "lost.json"))
    with pytest.raises(UserFacingError, match=r"^ERASURE_LEDGER_KEYS: there is no file '.*lost\.json': nothing was changed"):
        replay()


def test_replay__nothing_to_do() -> None:
    code, printed, _ = replay_command()
    assert code == 0
    assert printed == "0 entries in the ledger outside, 0 copied to PostgreSQL.\nNo user differs from the ledger.\n"


# --- A user who came back ---------------------------------------------------------------------------------------------------------


def erased_and_back() -> UUID:
    user_id = someone(1)
    erase(user_id)
    undo_erasures([user_id])
    UserFactory.create(id=user_id, email="back@example.org")
    return user_id


def test_replay__before_the_worker_has_the_undoing__erases_no_user_who_is_back(shelf: Shelf) -> None:
    user_id = erased_and_back()
    assert replay(dry_run=True).repeated == replay().repeated == {}
    assert User.objects.filter(pk=user_id).exists()


def test_replay__of_a_user_who_was_hidden_and_erased_and_is_back__changes_nothing(shelf: Shelf) -> None:
    user_id = someone(1)
    soft_delete(user_id)
    process_pending()
    anonymize(user_id)
    erase(user_id)
    undo_erasures([user_id])
    UserFactory.create(id=user_id, email="back@example.org")
    assert replay().repeated == {}
    process_pending()
    assert replay().repeated == {}
    assert User.objects.get(pk=user_id).deleted_at is None


def test_replay__before_the_worker_has_the_note__shows_the_user_still(shelf: Shelf) -> None:
    user_id = someone(1)
    soft_delete(user_id)
    process_pending()
    User.objects.filter(pk=user_id).update(deleted_at=None)
    assert replay().repeated == {}
    assert User.objects.get(pk=user_id).deleted_at is None


@pytest.mark.parametrize("is_reversed", [False, True])
def test_replay__after_a_rotation__the_last_entry_counts_under_whatever_key(
    is_reversed: bool, shelf: Shelf, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A key that was added again from a backup can stand at any place in the file."""
    path = tmp_path / "keys.json"
    shutil.copy(settings.ERASURE_LEDGER_KEYS, path)
    monkeypatch.setattr(settings, "ERASURE_LEDGER_KEYS", str(path))
    objecting = uuid4()
    record_entries([NewEntry(Kind.OBJECT, objecting, {"vector_store": 1})])
    user_id = someone(1)
    erase(user_id)
    rotate_keys(path, subject_keys())
    undo_erasures([user_id])
    process_pending()
    UserFactory.create(id=user_id, email="back@example.org")
    record_entries([NewEntry(Kind.UNDO_OBJECT, objecting), NewEntry(Kind.OBJECT, objecting)])
    if is_reversed:
        found = json.loads(path.read_bytes())
        path.write_text(json.dumps(found | {"keys": dict(reversed(found["keys"].items()))}))
    assert replay().repeated == {}
    assert User.objects.filter(pk=user_id).exists()
    last = LastEntries(subject_keys())
    for entry in read_entries():
        last.add(entry)
    assert last.kinds(objecting) == {Kind.OBJECT: Kind.OBJECT}
    assert not last.is_without_embedding(objecting)


# --- Gate -------------------------------------------------------------------------------------------------------------------------


def test_gate__compares_once_a_minute_and_on_a_new_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []
    monkeypatch.setattr(gate, "follow", lambda _outside, known: compared.append(known.position))
    tested = gate.Gate()
    for now, expected in ((1000.0, 1), (1059.0, 1), (1061.0, 2), (1070.0, 2)):
        monkeypatch.setattr("privacy.ledger.gate.time.monotonic", lambda now=now: now)
        tested.require_current()
        assert len(compared) == expected
    tested.forget()
    tested.require_current()
    assert len(compared) == 3


def test_gate__connected_again_during_the_comparison__compares_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread can connect to a database that was restored meanwhile."""
    tested, compared = gate.Gate(), []

    def compare() -> None:
        compared.append(1)
        if len(compared) == 1:
            tested.forget()

    monkeypatch.setattr(gate, "compare_with_outside", compare)
    for expected in (1, 2, 2):
        tested.require_current()
        assert len(compared) == expected


def test_gate__unavailable_ledger__serves_after_a_comparison_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that starts while the ledger is unavailable does not know whether its database was restored."""
    now, available = 1000.0, False

    def compare() -> None:
        if not available:
            raise StoreUnavailable("The ledger cannot be reached.")

    monkeypatch.setattr("privacy.ledger.gate.time.monotonic", lambda: now)
    monkeypatch.setattr(gate, "compare_with_outside", compare)
    tested = gate.Gate()
    with pytest.raises(StoreUnavailable):
        tested.require_current()
    available = True
    with pytest.raises(StoreUnavailable):
        tested.require_current()  # no attempt per search: each can take as long as the timeout of the store
    now += gate.RETRY_SECONDS
    tested.require_current()
    available = False
    for _ in range(3):
        now += gate.SECONDS
        tested.require_current()
    tested.forget()
    tested.require_current()


def test_gate__closed__keeps_no_frames_of_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "compare_with_outside", behind)
    tested = gate.Gate()
    for _ in range(20):
        with pytest.raises(LedgerBehind) as caught:
            tested.require_current()
    assert len(caught.traceback) < 5


def behind() -> None:
    raise LedgerBehind("The database was restored.")


def test_gate__without_a_ledger__is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "ERASURE_LEDGER_URL", "")
    gate.Gate().require_current()
