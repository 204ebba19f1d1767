"""Entries are outside before anything is destroyed, once, and a database that was restored is found."""

import os
import shutil
import signal
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from django.db import connection, transaction
from pytest_django.fixtures import Settings

from findme.core.errors import StoreUnavailable, UserFacingError
from privacy.actions.replay import replay
from privacy.ledger import publication
from privacy.ledger.book import NewEntry, insert, read_entries
from privacy.ledger.entry import Kind, LedgerBroken
from privacy.ledger.gate import compare_with_outside
from privacy.ledger.keys import subject_keys
from privacy.ledger.outside import FolderLedger, outside_ledger
from privacy.ledger.publication import LedgerBehind, publish_pending, record_entries
from privacy.ledger.signing import verifying_keys
from privacy.ledger.verify import compare_ledgers, entries_outside
from privacy.models import LedgerEntry, LedgerState
from tests.emptying import empty_the_tables, without_append_only
from tests.support.commands import manage_here
from tests.support.sessions import another_connection
from tests.support.threads import in_thread

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("ledger")]


def erase(*users: UUID) -> list[int]:
    return record_entries([NewEntry(Kind.ERASE, user, {"videos": 1}) for user in users])


def is_sound() -> bool:
    return compare_ledgers(outside_ledger(), verifying_keys()).is_sound


def test_record_entries__are_in_both_copies(ledger: Path) -> None:
    users = [uuid4() for _ in range(3)]
    assert (erase(users[0]), erase(*users[1:])) == ([1], [2, 3])
    assert [path.name for path in sorted(ledger.iterdir())] == ["0000000000000000001.jsonl", "0000000000000000002.jsonl"]
    assert list(entries_outside(FolderLedger(ledger), verifying_keys())) == list(read_entries())
    assert LedgerState.published() == 3
    assert not any(str(user) in path.read_text() or user.hex in path.read_text() for user in users for path in ledger.iterdir())


def test_record_entries__more_than_one_object_holds(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publication, "BATCH_SIZE", 2)
    assert erase(*(uuid4() for _ in range(5))) == [1, 2, 3, 4, 5]
    assert FolderLedger(ledger).firsts() == [1, 3, 5]
    assert is_sound()


def test_record_entries__outside_unavailable__the_next_call_publishes(ledger: Path) -> None:
    away = ledger.rename(ledger.with_name("away"))
    with pytest.raises(StoreUnavailable):
        erase(uuid4())
    assert not LedgerEntry.objects.exists()  # nothing is recorded where the ledger outside cannot be read
    away.rename(ledger)
    assert erase(uuid4()) == [1]


def test_record_entries__outside_is_another_place__records_nothing(ledger: Path) -> None:
    """The folder of a disk that is not mounted is empty, and so is a wrong one."""
    erase(uuid4())
    away = ledger.rename(ledger.with_name("away"))
    ledger.mkdir()
    with pytest.raises(
        LedgerBroken, match=r"^The ledger outside lacks entry 1, which was published\. Check that ERASURE_LEDGER_URL names the"
    ):
        erase(uuid4())
    with pytest.raises(LedgerBroken):
        compare_with_outside()
    assert (LedgerEntry.objects.count(), list(ledger.iterdir())) == (1, [])
    ledger.rmdir()
    away.rename(ledger)
    assert erase(uuid4()) == [2]


def test_ledger_outside__lost_for_good__is_written_again(ledger: Path) -> None:
    """By the statement of docs/privacy.md."""
    erase(uuid4(), uuid4())
    shutil.rmtree(ledger)
    ledger.mkdir()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE erasure_ledger_state SET published_position = 0")
    assert erase(uuid4()) == [3]
    assert (FolderLedger(ledger).firsts(), is_sound()) == ([1, 3], True)


def test_record_entries__killed_before_the_publication__published_once(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with transaction.atomic():
        insert([NewEntry(Kind.ERASE, uuid4())], subject_keys())
    assert FolderLedger(ledger).firsts() == []
    assert erase(uuid4()) == [2]
    assert FolderLedger(ledger).firsts() == [1, 2]
    assert (publish_pending(), is_sound()) == (0, True)


def test_record_entries__killed_before_it_is_noted__is_not_published_again(ledger: Path) -> None:
    erase(uuid4())
    LedgerState.objects.update(published_position=0)
    assert publish_pending() == 0
    assert (FolderLedger(ledger).firsts(), LedgerState.published()) == ([1], 1)


@pytest.mark.parametrize("seed", range(3))
def test_record_entries__by_many_processes_that_are_killed__never_twice_and_all_published(ledger: Path, seed: int) -> None:
    """Each child records entries until it is killed, at a moment that depends on the seed."""
    import random

    chance = random.Random(seed)  # a fixed seed, no secret
    for _ in range(3):
        children = [recorder() for _ in range(2)]
        for child in children:
            child.wait_for_entries(1 + chance.randrange(3))
        for child in children:
            child.kill()
    publish_pending()
    found = list(entries_outside(FolderLedger(ledger), verifying_keys()))
    assert found == list(read_entries())
    assert len({entry.subject for entry in found}) == len(found)
    assert len(found) >= 6


class recorder:  # noqa: N801  # it reads as a function
    """A process that records one entry after another."""

    def __init__(self) -> None:
        self.reader, writer = os.pipe()
        connection.close()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                while True:
                    os.write(writer, bytes([erase(uuid4())[0] % 256]))
            finally:
                os._exit(1)
        os.close(writer)

    def wait_for_entries(self, number: int) -> None:
        for _ in range(number):
            assert os.read(self.reader, 1), "the process has ended"

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.reader)


def test_record_entries__of_two_at_once__follow_each_other() -> None:
    with in_thread(lambda: [erase(uuid4())[0] for _ in range(5)]) as others:
        mine = [erase(uuid4())[0] for _ in range(5)]
        assert sorted([*mine, *others.result()]) == list(range(1, 11))
    assert is_sound()


def test_record_entries__another_process_publishes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publication, "LOCK_SECONDS", 0.2)
    with another_connection() as other, other.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [publication.LOCK])
        with pytest.raises(UserFacingError, match=r"^Another process has published .*: nothing was changed\. Run it again\.$"):
            erase(uuid4())
        cursor.execute("SELECT pg_advisory_unlock(%s)", [publication.LOCK])


@pytest.fixture
def restored(ledger: Path) -> None:
    """Record three entries, of which the database has lost the last two, as after a restore."""
    erase(uuid4())
    rows = list(LedgerEntry.objects.values())
    erase(uuid4())
    erase(uuid4())
    empty_the_tables()
    LedgerEntry.objects.bulk_create([LedgerEntry(**row) for row in rows])
    LedgerState.objects.create(published_position=1)


@pytest.mark.usefixtures("restored")
def test_record_entries__restored_database__records_nothing() -> None:
    with pytest.raises(
        LedgerBehind, match=r"has entry 2, and that of the database ends at 1: the database was restored\. Run manage.py replay_erasures\.$"
    ):
        erase(uuid4())
    assert LedgerEntry.objects.count() == 1


@pytest.mark.usefixtures("restored")
def test_verify_ledger__restored_database__says_what_is_missing() -> None:
    code, printed, _ = manage_here("verify_ledger")
    assert code == 1
    assert printed == (
        "PostgreSQL has 1 entry, and the ledger outside has 3.\n"
        "PostgreSQL lacks 2 entries: it was restored. Run manage.py replay_erasures.\n"
    )


def test_verify_ledger__copies_that_agree(ledger: Path) -> None:
    erase(uuid4(), uuid4())
    code, printed, _ = manage_here("verify_ledger")
    head = list(read_entries())[-1].digest.hex()
    assert code in {0, None}
    assert printed == f"PostgreSQL has 2 entries, and the ledger outside has 2.\nBoth copies agree. Head: {head}\n"


def test_verify_ledger__entries_that_are_not_published_yet(ledger: Path) -> None:
    with transaction.atomic():
        insert([NewEntry(Kind.ERASE, uuid4())], subject_keys())
    code, printed, _ = manage_here("verify_ledger")
    assert code in {0, None}
    assert "1 entry will be published by the next privacy action.\n" in printed


def test_two_databases__that_write_one_ledger__are_named(ledger: Path) -> None:
    """A copy of the database continued the ledger. Its entry 2 is another one."""
    erase(uuid4())
    rows = list(LedgerEntry.objects.values())
    erase(uuid4())
    empty_the_tables()
    LedgerEntry.objects.bulk_create([LedgerEntry(**row) for row in rows])
    LedgerState.objects.create(published_position=1)
    with transaction.atomic():
        insert([NewEntry(Kind.ERASE, uuid4())], subject_keys())
    with pytest.raises(
        LedgerBroken, match=r"^Entry 2 of the ledger outside is another one than in the database\. Two databases write to one ledger"
    ):
        erase(uuid4())
    code, printed, _ = manage_here("verify_ledger")
    assert code == 1
    assert "The copies differ from entry 2 on.\n" in printed


def test_table_without_triggers__an_edited_row_is_found(ledger: Path) -> None:
    erase(uuid4(), uuid4())
    with without_append_only() as cursor:
        cursor.execute("UPDATE erasure_ledger SET kind = 2 WHERE position = 2")
    _, printed, _ = manage_here("verify_ledger")
    assert "PostgreSQL: Entry 2 of the ledger in PostgreSQL was edited. Run manage.py verify_ledger.\n" in printed


@pytest.mark.parametrize("change", ["cut", "bit", "removed", "signature", "replaced"])
def test_object__changed__is_named(ledger: Path, change: str) -> None:
    for _ in range(3):
        erase(uuid4())
    path = ledger / "0000000000000000002.jsonl"
    content = path.read_bytes()
    match change:
        case "cut":
            path.write_bytes(content[:-20])
        case "bit":
            path.write_bytes(content.replace(b'"kind":1', b'"kind":3'))
        case "removed":
            path.unlink()
        case "signature":
            path.write_bytes(content.replace(b'{"jws": "ey', b'{"jws": "ex'))
        case _:
            path.write_bytes((ledger / "0000000000000000003.jsonl").read_bytes())
    code, printed, _ = manage_here("verify_ledger")
    assert code == 1
    assert any(f"entry {number}" in printed.lower() for number in (2, 3))
    assert "outside: " in printed


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"x\n", b'{"jws": "x"}\n', pytest.param(b"[" * 100_000 + b'\n{"jws": "x"}\n', id="nested")]
)
def test_object__garbage__is_named(ledger: Path, content: bytes) -> None:
    (ledger / "0000000000000000001.jsonl").write_bytes(content)
    with pytest.raises(LedgerBroken, match=r"^The object of the ledger outside that begins at entry 1 is cut off or was edited"):
        erase(uuid4())


def keep(ledger: Path, number: int) -> None:
    """Leave only the first objects of the ledger outside."""
    for path in sorted(ledger.iterdir())[number:]:
        path.unlink()


@pytest.mark.parametrize("kept", [0, 1, 2])
@pytest.mark.parametrize("is_known", [True, False])
def test_cut_off__nothing_is_recorded(ledger: Path, kept: int, is_known: bool) -> None:
    """A store can lose what it has accepted. The database of an earlier version does not know the first position of the last object."""
    erase(uuid4(), uuid4())
    erase(uuid4())
    erase(uuid4(), uuid4())
    if not is_known:
        LedgerState.objects.update(published_first=0)
    keep(ledger, kept)
    lost = r"^The ledger outside lacks entry 5, which was published\. Check that ERASURE_LEDGER_URL names the right place"
    for _ in range(2):
        with pytest.raises(LedgerBroken, match=lost):
            erase(uuid4())
    with pytest.raises(LedgerBroken, match=lost):
        compare_with_outside()
    with pytest.raises(LedgerBroken, match=lost):
        replay()
    assert (LedgerEntry.objects.count(), len(list(ledger.iterdir()))) == (5, kept)


@pytest.mark.parametrize(("kept", "last"), [(0, 0), (1, 1), (2, 2)])
def test_verify_ledger__cut_off__says_so(ledger: Path, kept: int, last: int) -> None:
    for _ in range(3):
        erase(uuid4())
    keep(ledger, kept)
    code, printed, _ = manage_here("verify_ledger")
    assert code == 1
    assert f"outside: The ledger ends at entry {last}, and entry 3 was published: it was cut off. Restore it from a copy.\n" in printed
    assert "will be published" not in printed


def test_last_object__edited__nothing_is_recorded(ledger: Path) -> None:
    erase(uuid4())
    path = ledger / "0000000000000000001.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"kind":1', b'"kind":3'))
    with pytest.raises(LedgerBroken, match=r"^Entry 1 of the ledger outside is another one than in the database\."):
        erase(uuid4())


def test_ledger_of_another_database__nothing_is_recorded(ledger: Path) -> None:
    """Another database has fewer entries, with the same keys."""
    erase(uuid4())
    others = [path.read_bytes() for path in ledger.iterdir()]
    empty_the_tables()
    keep(ledger, 0)
    erase(uuid4())
    erase(uuid4())
    keep(ledger, 0)
    (ledger / "0000000000000000001.jsonl").write_bytes(others[0])
    with pytest.raises(LedgerBroken, match=r"^The ledger outside lacks entry 2, which was published"):
        erase(uuid4())
    assert FolderLedger(ledger).firsts() == [1]


def test_state_with_a_position_that_no_copy_has__nothing_is_recorded(ledger: Path) -> None:
    """Otherwise an entry would count as published that is not."""
    erase(uuid4())
    LedgerState.objects.update(published_position=1000)
    with pytest.raises(LedgerBroken, match="lacks entry 1000, which was published"):
        erase(uuid4())


def test_lost_ledger__is_published_again_from_the_database(ledger: Path) -> None:
    """What docs/privacy.md says, if there is no copy."""
    for _ in range(3):
        erase(uuid4())
    keep(ledger, 0)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE erasure_ledger_state SET published_position = 0, published_first = 0")
    assert publish_pending() == 3
    assert is_sound()


def test_missing_key__nothing_is_recorded(ledger: Path, settings: Settings) -> None:
    for name in ("ERASURE_LEDGER_KEYS", "PRIVACY_SIGNING_KEY", "ERASURE_LEDGER_URL"):
        before = getattr(settings, name)
        setattr(settings, name, "")
        with pytest.raises(UserFacingError, match=f"^{name} is not set: nothing was changed"):
            erase(uuid4())
        setattr(settings, name, before)
    assert not LedgerEntry.objects.exists()
    assert list(ledger.iterdir()) == []
