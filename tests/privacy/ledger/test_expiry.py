"""Old entries of the ledger go behind a signed checkpoint, in both copies, and the chain continues."""

import random
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from findme.core.db.clock import database_clock
from privacy.actions.pending import process_pending
from privacy.actions.replay import replay
from privacy.ledger.book import NewEntry, checkpoints, digest_at, last_checkpoint, last_position, read_entries
from privacy.ledger.checkpoint import Checkpoint, signed
from privacy.ledger.entry import Kind, LedgerBroken
from privacy.ledger.expiry import count_expired, expire
from privacy.ledger.gate import compare_with_outside
from privacy.ledger.keys import subject_keys
from privacy.ledger.outside import FolderLedger, outside_ledger
from privacy.ledger.publication import LedgerBehind, publish_pending, record_entries
from privacy.ledger.signing import create_signing_key, signing_key, verifying_keys
from privacy.ledger.states import last_kinds
from privacy.ledger.verify import LedgerComparison, compare_ledgers
from privacy.models import LedgerCheckpoint, LedgerEntry, LedgerState, PendingAction
from privacy.registry import registry
from tests.emptying import empty_the_tables, without_append_only
from tests.privacy.forked import run_killed
from tests.privacy.ledger.aged import YEARS, add_entries
from tests.support.commands import manage_here
from tests.support.restored import restorable_postgres
from tests.support.seeds import kill_seeds
from tests.support.threads import in_thread

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("ledger")]

DAYS = 1095


def compared() -> LedgerComparison:
    return compare_ledgers(outside_ledger(), verifying_keys())


def positions() -> list[int]:
    return list(LedgerEntry.objects.order_by("pk").values_list("pk", flat=True))


def erase(count: int = 1) -> list[int]:
    return record_entries([NewEntry(Kind.ERASE, uuid4()) for _ in range(count)])


def test_expire__old_entries_go_and_the_chain_continues(ledger: Path) -> None:
    add_entries(2, YEARS)
    last = add_entries(3, YEARS)[-1]
    assert erase() == [6]
    assert (count_expired(DAYS), expire(DAYS)) == (5, 5)
    assert (positions(), FolderLedger(ledger).firsts()) == ([6], [6])
    found = last_checkpoint()
    assert (found.position, found.digest, found.recorded_at, found.retention_days) == (5, last.digest, last.recorded_at, DAYS)
    assert erase() == [7]
    compare_with_outside()
    assert (compared().is_sound, compared().checkpoint, compared().in_postgresql, compared().outside) == (True, 5, 2, 2)
    assert (expire(DAYS), [one.position for one in checkpoints()], FolderLedger(ledger).checkpoints()) == (0, [5], [5])


def test_expire__of_all_entries__the_next_one_follows_the_checkpoint(ledger: Path) -> None:
    add_entries(3, YEARS)
    assert expire(DAYS) == 3
    assert (positions(), FolderLedger(ledger).firsts(), last_position()) == ([], [], 3)
    assert compared().is_sound
    compare_with_outside()
    assert erase() == [4]
    assert compared().is_sound


def test_expire__an_entry_before_the_checkpoint_stays__the_next_ones_follow_the_checkpoint() -> None:
    """The clock of PostgreSQL was set back, so an older entry has a later time."""
    add_entries(1, 10)
    add_entries(1, YEARS)
    expire(5)
    assert (positions(), last_checkpoint().position) == ([1], 2)
    assert erase(3) == [3, 4, 5]


def test_expire__nothing_is_old__makes_no_checkpoint(ledger: Path) -> None:
    add_entries(2, DAYS - 1)
    assert (count_expired(DAYS), expire(DAYS), LedgerCheckpoint.objects.count()) == (0, 0, 0)
    assert not (ledger / "checkpoints").exists()


def test_expire__an_object_with_a_young_entry__stays_whole(ledger: Path) -> None:
    add_entries(2, YEARS)
    add_entries(1, YEARS)
    old, young = uuid4(), uuid4()
    with patch("privacy.ledger.publication.publish", return_value=0):  # both entries go into one object
        add_entries(1, YEARS, [old])
        add_entries(1, 1, [young])
    publish_pending()
    assert expire(DAYS) == 3
    assert (positions(), FolderLedger(ledger).firsts(), compared().is_sound) == ([4, 5], [4], True)


def test_expire__an_entry_after_the_oldest_backup__stays(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If that backup is restored, a replay must find the entry."""
    add_entries(1, YEARS + 2)
    add_entries(1, YEARS)
    oldest = database_clock() - timedelta(days=YEARS + 1)
    monkeypatch.setattr(registry, "_oldest_copies", [lambda: oldest])
    assert (count_expired(DAYS), expire(DAYS), positions()) == (1, 1, [2])
    monkeypatch.setattr(registry, "_oldest_copies", [])
    assert (count_expired(DAYS), expire(DAYS), positions()) == (1, 1, [])


def test_expire__an_action_that_is_not_complete__stays_with_all_later_ones() -> None:
    held = uuid4()
    add_entries(1, YEARS)
    add_entries(1, YEARS, [held])
    add_entries(1, YEARS)
    pending = PendingAction.objects.create(user_id=held, kind=Kind.ERASE)
    assert (expire(DAYS), positions()) == (1, [2, 3])
    pending.delete()
    assert (expire(DAYS), positions(), compared().is_sound) == (2, [], True)


def test_verify_ledger__says_where_it_begins() -> None:
    add_entries(2, YEARS)
    erase()
    expire(DAYS)
    code, printed, _ = manage_here("verify_ledger")
    assert code in {0, None}
    head = next(read_entries()).digest.hex()
    assert printed == (
        "The entries up to 2 were deleted after their retention, as a signed checkpoint says.\n"
        f"PostgreSQL has 1 entry, and the ledger outside has 1.\nBoth copies agree. Head: {head}\n"
    )


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(1, 3), st.booleans()), min_size=1, max_size=5), st.integers(0, 4), st.integers(0, 2))
def test_any_ledger__after_any_checkpoints__is_sound_and_continues(
    ledger: Path, groups: list[tuple[int, bool]], stop: int, more: int
) -> None:
    """``stop`` groups are old at the first deletion, and all old ones before a young one at the second."""
    empty_the_tables()
    for path in [*ledger.glob("*.jsonl"), *ledger.glob("checkpoints/*")]:
        path.unlink()
    expected_first, is_prefix, total = 0, True, 0
    for number, (size, is_old) in enumerate(groups):
        add_entries(size, YEARS if is_old else 1)
        total += size
        is_prefix = is_prefix and is_old
        expected_first += size if is_prefix else 0
        if number == stop:
            expire(DAYS)
    expire(DAYS)
    assert positions() == list(range(expected_first + 1, total + 1))
    if more:
        assert erase(more)[-1] == total + more
    compare_with_outside()
    found = compared()
    assert (found.is_sound, found.checkpoint, found.in_postgresql, found.outside) == (
        True,
        expected_first,
        total + more - expected_first,
        total + more - expected_first,
    )
    assert replay().copied == 0


# --- Killed between the steps ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [6, pytest.param(1, marks=pytest.mark.at_length)])
def test_expire__killed_before_an_operation__every_state_is_sound_and_the_next_run_completes(ledger: Path, step: int) -> None:
    operation = 0
    while True:
        empty_the_tables()
        for path in [*ledger.glob("*.jsonl"), *ledger.glob("checkpoints/*")]:
            path.unlink()
        for _ in range(2):
            add_entries(1, YEARS)
        erase()
        if not run_killed(lambda: expire(DAYS), operation):
            break
        assert compared().is_sound, compared()
        compare_with_outside()
        assert replay(dry_run=True).copied == 0
        if operation % 4:
            assert erase() == [4]
        expire(DAYS)
        expected = [3, 4] if operation % 4 else [3]
        assert (positions(), FolderLedger(ledger).firsts(), [one.position for one in checkpoints()]) == (expected, expected, [2])
        assert compared().is_sound
        operation += step
    assert operation > 18


@pytest.mark.parametrize("seed", kill_seeds(2))
def test_expire__killed_at_random_moments__complete_in_the_end(ledger: Path, seed: int) -> None:
    chance = random.Random(seed)  # a fixed seed, no secret
    groups = [(chance.randrange(1, 4), True) for _ in range(chance.randrange(1, 5))]
    for size, _ in groups:
        add_entries(size, YEARS)
    erase()
    total = sum(size for size, _ in groups)
    while run_killed(lambda: expire(DAYS), chance.randrange(60)):
        assert compared().is_sound
    assert (positions(), FolderLedger(ledger).firsts()) == ([total + 1], [total + 1])
    assert [one.position for one in checkpoints()] == [total] == FolderLedger(ledger).checkpoints()


def test_expire__by_two_at_once__one_checkpoint(ledger: Path) -> None:
    for _ in range(4):
        add_entries(1, YEARS)
    with in_thread(lambda: expire(DAYS)) as other:
        mine = expire(DAYS)
        assert mine + other.result() == 4
    assert ([one.position for one in checkpoints()], FolderLedger(ledger).checkpoints(), compared().is_sound) == ([4], [4], True)


# --- Forged checkpoints ------------------------------------------------------------------------------------------------------------


def forge_row(**values: Any) -> None:
    """Write a checkpoint into PostgreSQL without its triggers."""
    row = LedgerCheckpoint.objects.values().get() | values
    with without_append_only() as cursor:
        cursor.execute("TRUNCATE ledger_checkpoints")
        LedgerCheckpoint.objects.create(**row)


def by_another_key(ledger: Path) -> None:
    create_signing_key(ledger.with_name("other.pem"))
    found = last_checkpoint()
    with patch("django.conf.settings.PRIVACY_SIGNING_KEY", str(ledger.with_name("other.pem"))):
        forged = signed(Checkpoint(found.position, found.digest, found.recorded_at, found.retention_days, found.created_at), signing_key())
    (path,) = (ledger / "checkpoints").iterdir()
    path.write_text(forged.token)


def head_as_checkpoint(ledger: Path) -> None:
    """Pass the signature of an object off as a checkpoint, and delete the entries before."""
    import json

    erase()
    head = json.loads((ledger / f"{3:019}.jsonl").read_bytes().splitlines()[-1])["jws"]
    (ledger / "checkpoints" / f"{3:019}.jws").write_text(head)


def moved(ledger: Path) -> None:
    (path,) = (ledger / "checkpoints").iterdir()
    path.rename(path.with_name(f"{3:019}.jws"))


def shortened(ledger: Path) -> None:
    """Delete a young entry in both copies, with the row of the checkpoint moved behind it."""
    erase()
    entry = LedgerEntry.objects.get(pk=3)
    forge_row(position=3, digest=entry.digest, last_recorded_at=entry.recorded_at)
    with without_append_only() as cursor:
        cursor.execute("DELETE FROM erasure_ledger WHERE position = 3")
    (ledger / f"{3:019}.jsonl").unlink()


@pytest.mark.parametrize(
    ("forge", "expected"),
    [
        (lambda _: forge_row(digest=bytes(range(200, 232))), "PostgreSQL: The signature of the checkpoint at entry 2 is wrong."),
        (lambda _: forge_row(signature=bytes(range(190, 254))), "PostgreSQL: The signature of the checkpoint at entry 2 is wrong."),
        (lambda _: forge_row(key=bytes(range(200, 232))), "PostgreSQL: The signature of the checkpoint at entry 2 is wrong."),
        (lambda _: forge_row(position=1), "PostgreSQL: The signature of the checkpoint at entry 1 is wrong."),
        (lambda _: forge_row(retention_days=1), "PostgreSQL: The signature of the checkpoint at entry 2 is wrong."),
        (shortened, "PostgreSQL: The signature of the checkpoint at entry 3 is wrong."),
        (by_another_key, "outside: The signature of the checkpoint at entry 2 is wrong."),
        (head_as_checkpoint, "outside: The checkpoint of the ledger at entry 3 was edited or moved."),
        (moved, "outside: The checkpoint of the ledger at entry 3 was edited or moved."),
        (
            lambda ledger: next((ledger / "checkpoints").iterdir()).write_text("x"),
            "outside: The checkpoint of the ledger at entry 2 was edited or moved.",
        ),
        (lambda ledger: next((ledger / "checkpoints").iterdir()).unlink(), "outside: Entry 3 of the ledger does not follow entry 0."),
    ],
    ids=["digest", "signature", "key", "row-moved", "retention", "shortened", "another-key", "head", "object-moved", "garbage", "removed"],
)
def test_forged_checkpoint__is_named(ledger: Path, forge: Callable[[Path], object], expected: str) -> None:
    add_entries(2, YEARS)
    erase()
    expire(DAYS)
    forge(ledger)
    code, printed, _ = manage_here("verify_ledger")
    assert code == 1
    assert expected in printed
    assert "Both copies agree" not in printed


def test_entries_without_a_checkpoint__are_named() -> None:
    add_entries(2, YEARS)
    with without_append_only() as cursor:
        cursor.execute("DELETE FROM erasure_ledger WHERE position = 1")
    _, printed, _ = manage_here("verify_ledger")
    assert "PostgreSQL: Entry 2 of the ledger does not follow entry 0." in printed


def test_expire__different_checkpoints__deletes_nothing(ledger: Path) -> None:
    add_entries(2, YEARS)
    expire(DAYS)
    by_another_key(ledger)
    add_entries(1, YEARS)
    with pytest.raises(LedgerBroken, match=r"^The signature of the checkpoint at entry 2 is wrong"):
        expire(DAYS)
    assert positions() == [3]


# --- After a restore ---------------------------------------------------------------------------------------------------------------


def test_restored__older_than_the_checkpoint_but_with_its_entries__is_replayed(ledger: Path) -> None:
    add_entries(2, YEARS)
    erase()
    with restorable_postgres() as restore:
        expire(DAYS)
        erase()
        restore()
        with pytest.raises(LedgerBehind, match=r"Run manage\.py replay_erasures\.$"):
            compare_with_outside()
        assert compared().missing == 1
        assert replay().copied == 1
        compare_with_outside()
        assert (positions(), compared().is_sound, compared().checkpoint) == ([1, 2, 3, 4], True, 2)
        assert (expire(DAYS), positions(), last_checkpoint().position) == (2, [3, 4], 2)
        assert compared().is_sound


def test_restored__from_before_the_checkpoint__is_refused(ledger: Path) -> None:
    add_entries(1, YEARS)
    with restorable_postgres() as restore:
        add_entries(2, YEARS)
        erase()
        expire(DAYS)
        restore()
        with pytest.raises(LedgerBehind, match="begins after entry 3, and that of the database ends at 1: the database was restored"):
            compare_with_outside()
        with pytest.raises(LedgerBehind):
            erase()
        with pytest.raises(LedgerBroken, match=r"^The database ends at entry 1 of the ledger, and that outside begins after entry 3"):
            replay()
        code, printed, _ = manage_here("verify_ledger")
        assert code == 1
        assert "PostgreSQL: The ledger ends at entry 1, before the checkpoint at entry 3." in printed
        assert "PostgreSQL lacks 3 entries" in printed


def test_restored__without_a_ledger__needs_the_word_of_the_operator(ledger: Path) -> None:
    add_entries(2, YEARS)
    erase()
    expire(DAYS)
    empty_the_tables()
    with pytest.raises(LedgerBehind):
        compare_with_outside()
    for arguments in ([], ["--dry-run"]):
        code, _, error = manage_here("replay_erasures", *arguments)
        assert code == 2
        assert "The database has no ledger, and that outside begins after entry 2 of " in error
        assert "add --data-are-newer." in error
    assert not LedgerCheckpoint.objects.exists()
    assert manage_here("replay_erasures", "--data-are-newer", "--dry-run")[1].startswith("1 entry in the ledger outside, 1 would be copied")
    assert manage_here("replay_erasures", "--data-are-newer")[1].startswith("1 entry in the ledger outside, 1 copied")
    assert (positions(), compared().is_sound) == ([3], True)
    compare_with_outside()
    assert erase() == [4]


def test_restored__state_is_lost__begins_at_the_checkpoint() -> None:
    add_entries(2, YEARS)
    erase()
    expire(DAYS)
    LedgerState.objects.update(published_position=0)
    assert (publish_pending(), LedgerState.published()) == (0, 3)


def test_ledger_outside__lost_for_good_after_a_checkpoint__is_written_again(ledger: Path) -> None:
    """By the statement of docs/privacy.md. The entries before the checkpoint are in no copy any more."""
    add_entries(2, YEARS)
    erase(2)
    expire(DAYS)
    shutil.rmtree(ledger)
    ledger.mkdir()
    LedgerState.objects.update(published_position=0)
    assert erase() == [5]
    assert (FolderLedger(ledger).checkpoints(), FolderLedger(ledger).firsts()) == ([2], [3, 5])
    compare_with_outside()
    assert compared().is_sound
    assert replay().entries == 3


def test_user__who_is_shown_after_the_entry_of_the_hiding_was_deleted__gets_an_entry() -> None:
    """A backup may still hide the user."""
    user = uuid4()
    PendingAction.objects.create(user_id=user, kind=Kind.UNDO_SOFT_DELETE)
    process_pending()
    assert not LedgerEntry.objects.exists()
    add_entries(1, YEARS)
    expire(DAYS)
    PendingAction.objects.create(user_id=user, kind=Kind.UNDO_SOFT_DELETE)
    process_pending()
    assert last_kinds([user], subject_keys()) == {(user, Kind.SOFT_DELETE): Kind.UNDO_SOFT_DELETE}


def test_user__whose_entries_are_deleted__has_no_state() -> None:
    user = uuid4()
    add_entries(1, YEARS, [user])
    expire(DAYS)
    assert last_kinds([user], subject_keys()) == {}
    assert digest_at(1) == last_checkpoint().digest
