"""The shelf of these tests keeps the promises of a store. Broken shelves prove that each promise can fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from privacy.actions.stores import DeletionUnconfirmed
from privacy.registry import registry
from tests.privacy import broken_shelves as broken
from tests.privacy.shelf import Shelf
from tests.privacy.shelf_harness import ShelfHarness
from tests.support.stores import promises
from tests.support.stores.promises import PROMISES, Promise, keeps_after_a_kill

pytestmark = pytest.mark.django_db(transaction=True)

UNAVAILABLE = {
    promises.absent__every_call_is_refused,
    promises.down__every_call_is_refused,
    promises.slow__every_call_is_refused_in_time,
}
NOTHING_CHANGES = {promises.absent__erasure_changes_nothing, promises.down__erasure_changes_nothing, promises.slow__erasure_changes_nothing}
UNCONFIRMED = {
    promises.fails_in_session__removal_is_unconfirmed,
    promises.lies__erasure_is_unconfirmed,
    promises.lies_and_hides__erasure_is_unconfirmed,
}
FAILURE = promises.fails_in_session__removal_is_unconfirmed

BROKEN: dict[type[Shelf | ShelfHarness], set[Promise]] = {
    broken.OpensOnce: {promises.session__is_reentrant},
    broken.ClosesEarly: {promises.session__is_reentrant},
    broken.StaysOpen: {promises.session__ended__does_not_block_others},
    broken.HoldsAll: {promises.answers__are_about_the_user_only, promises.remove__deletes_the_data_of_the_user_only},
    broken.TrustsItsDeletion: {
        promises.answers__are_about_the_user_only,
        promises.remaining__finds_what_a_lookup_hides,
        promises.lies__erasure_is_unconfirmed,
        promises.lies_and_hides__erasure_is_unconfirmed,
    },
    broken.LooksUp: {promises.remaining__finds_what_a_lookup_hides, promises.lies_and_hides__erasure_is_unconfirmed},
    broken.ScansByKey: {promises.scan__finds_data_under_another_key, promises.scan__finds_what_a_lookup_hides},
    broken.ScansTooMuch: {promises.answers__are_about_the_user_only},
    broken.RemovesAll: {
        promises.remove__deletes_the_data_of_the_user_only,
        promises.remove__workers_do_not_write_the_user_again,
        *NOTHING_CHANGES,
        *UNCONFIRMED,
    },
    broken.RemovesOnce: {promises.remove__again__returns_false},
    broken.CountsAttempts: {promises.remove__again__returns_false},
    broken.HasAWorker: {promises.remove__workers_do_not_write_the_user_again},
    broken.EmptyIfAbsent: {promises.absent__every_call_is_refused, promises.absent__erasure_changes_nothing},
    broken.EmptyIfDown: {promises.down__every_call_is_refused},
    broken.Waits: {promises.slow__every_call_is_refused_in_time, promises.slow__erasure_changes_nothing, FAILURE},
    broken.RaisesErrorsOfItsDriver: {*UNAVAILABLE, *NOTHING_CHANGES, FAILURE},
    broken.WritesReports: {*UNAVAILABLE, *NOTHING_CHANGES},
    broken.NeverRecovers: {*UNAVAILABLE, *NOTHING_CHANGES, FAILURE},
    broken.RefusesLate: {*UNAVAILABLE, *NOTHING_CHANGES},
    broken.IgnoresFailures: {*UNAVAILABLE, FAILURE},
}
"""The promises that each broken shelf breaks. It keeps all others."""


def name_of(one: Promise | type) -> str:
    return one.__name__


def use(harness: ShelfHarness, monkeypatch: pytest.MonkeyPatch) -> ShelfHarness:
    monkeypatch.setattr(registry, "_stores", {harness.store.name: harness.store})
    return harness


@pytest.fixture
def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ShelfHarness:
    return use(ShelfHarness(tmp_path), monkeypatch)


@pytest.mark.parametrize("promise", PROMISES, ids=name_of)
def test_shelf__keeps(promise: Promise, harness: ShelfHarness) -> None:
    promise(harness)


@pytest.mark.at_length(every=5)
@pytest.mark.parametrize("nth", range(ShelfHarness.kills + 1))
def test_shelf__killed(nth: int, harness: ShelfHarness) -> None:
    keeps_after_a_kill(harness, nth)


def breaks(kind: type[Shelf | ShelfHarness], promise: Promise, folder: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    folder.mkdir()
    harness = use(kind(folder) if issubclass(kind, ShelfHarness) else ShelfHarness(folder, kind), monkeypatch)
    if kind is broken.Waits:
        monkeypatch.setattr(harness, "seconds", 2)  # it never answers
    try:
        promise(harness)
    except (Exception, pytest.fail.Exception):  # noqa: BLE001  # a broken shelf can raise any error
        return True
    return False


@pytest.mark.parametrize("promise", PROMISES, ids=name_of)
def test_promise__a_broken_shelf_breaks_it(promise: Promise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = next(kind for kind, broken_promises in BROKEN.items() if promise in broken_promises)
    assert breaks(kind, promise, tmp_path / "broken", monkeypatch)


@pytest.mark.at_length(every=10)
@pytest.mark.parametrize("kind", BROKEN, ids=name_of)
def test_broken_shelf__keeps_all_other_promises(kind: type[Shelf | ShelfHarness], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {promise for promise in PROMISES if breaks(kind, promise, tmp_path / promise.__name__, monkeypatch)} == BROKEN[kind]


@pytest.mark.at_length
def test_promise__of_a_kill__a_broken_shelf_breaks_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process is killed before the call that deletes the data, after the one that deletes the entry of the index."""
    harness = use(broken.IndexedHarness(tmp_path), monkeypatch)
    with pytest.raises(DeletionUnconfirmed, match="is still in the books"):
        keeps_after_a_kill(harness, 3)
