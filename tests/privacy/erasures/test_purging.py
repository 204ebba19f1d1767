"""An erasure is purged when the scan, the stores, the snapshots and the backups say so, and not before."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from django.utils import timezone
from pytest_django import Settings

from privacy.actions.erase import erase
from privacy.actions.purging import note_purge
from privacy.models import Erasure, ErasureStep
from privacy.registry import registry
from privacy.requests.jobs import process
from tests.factories import ProfileEmbeddingFactory, UserFactory
from tests.privacy.erasures.rows import run
from tests.privacy.shelf import Shelf
from vectorstore.schema.initialize import initialize
from vectorstore.sync.inline import sync_users

pytestmark = pytest.mark.django_db(transaction=True)

PURGING = ("scan", "segments", "snapshots", "backups")


@pytest.fixture
def erased(shelf: Shelf) -> Erasure:
    erase(UserFactory.create().pk)
    return Erasure.objects.get()


def waits() -> dict[str, str]:
    return {row.step: "done" if row.done_at else row.waits_for for row in ErasureStep.objects.filter(step__in=PURGING)}


def age(days: int) -> None:
    """Let everything have happened some days earlier."""
    run(
        "ALTER TABLE erasures DISABLE TRIGGER erasures_step_check;"
        "UPDATE erasures SET erased_at = erased_at - make_interval(days => %s);"
        "ALTER TABLE erasures ENABLE ALWAYS TRIGGER erasures_step_check;",
        days,
    )
    run("UPDATE erasure_steps SET checked_at = checked_at - make_interval(days => %s) WHERE done_at IS NULL", days)


def test_erasure__says_what_it_waits_for(erased: Erasure) -> None:
    assert process().purged == 0
    assert waits() == {"scan": "done", "segments": "write_log", "snapshots": "snapshots", "backups": "setting"}


def test_erasure__is_purged_when_all_steps_are_done(erased: Erasure, settings: Settings) -> None:
    settings.BACKUP_RETENTION_DAYS = 30
    process()
    assert waits()["backups"] == "retention"
    until = ErasureStep.objects.get(step="backups").waits_until
    assert until == (erased.erased_at or timezone.now()) + timedelta(days=30)
    note_purge(timezone.now() + timedelta(minutes=1), bytes_gone=True, snapshots_gone=False)
    assert (process().purged, waits()) == (0, {"scan": "done", "segments": "done", "snapshots": "snapshots", "backups": "retention"})
    note_purge(timezone.now() + timedelta(minutes=1), bytes_gone=False, snapshots_gone=True)
    age(31)
    assert (process().purged, set(waits().values())) == (1, {"done"})
    erased.refresh_from_db()
    assert (erased.state, erased.purged_at is not None) == ("purged", True)
    assert process().purged == 0


def test_purge_that_began_before_the_erasure__proves_nothing(erased: Erasure) -> None:
    note_purge((erased.erased_at or timezone.now()) - timedelta(seconds=1), bytes_gone=True, snapshots_gone=True)
    assert {waits()[step] for step in ("segments", "snapshots")} == {""}


def test_scan__finds_the_user_under_another_key__is_reported_and_repeated_daily(erased: Erasure, shelf: Shelf) -> None:
    shelf.loose.append(erased.user)
    assert process().found_again == (erased.pk,)
    shelf.loose.clear()
    assert (process().found_again, waits()["scan"]) == ((erased.pk,), "finding")
    age(1)
    assert (process().found_again, waits()["scan"]) == ((), "done")


def test_scan__store_unavailable__waits(erased: Erasure, shelf: Shelf) -> None:
    shelf.reachable = False
    process()
    assert waits()["scan"] == "store"
    shelf.reachable = True
    age(1)
    process()
    assert waits()["scan"] == "done"


def test_scan__is_one_for_all_erasures_of_a_day(erased: Erasure, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    original = shelf.scan

    def scan(user_ids: Collection[UUID]) -> frozenset[UUID]:
        asked.append(len(user_ids))
        return original(user_ids)

    monkeypatch.setattr(shelf, "scan", scan)
    erase(UserFactory.create().pk)
    process()
    erase(UserFactory.create().pk)
    process()
    assert asked == [2]


def test_store_that_overwrites_what_it_deletes__is_purged_by_the_scan(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Shelf, "keeps_deleted_bytes", False)
    found, gone = UserFactory.create().pk, UserFactory.create().pk
    for user_id in (found, gone):
        erase(user_id)
    shelf.loose.append(found)
    process()
    done = ErasureStep.objects.filter(step__in=["segments", "snapshots"], done_at__isnull=False)
    assert list(done.order_by("pk").values_list("erasure__user_id", "step")) == [(gone, "segments"), (gone, "snapshots")]


def test_embedded_qdrant__is_purged_when_its_backups_are_gone(embedded_qdrant: Path, settings: Settings) -> None:
    """It has no purge_qdrant."""
    initialize()
    settings.BACKUP_RETENTION_DAYS = 30
    person = ProfileEmbeddingFactory.create().user
    sync_users([person.pk])
    erase(person.pk)
    process()
    assert waits() == {"scan": "done", "segments": "done", "snapshots": "done", "backups": "retention"}
    age(31)
    assert process().purged == 1


@pytest.mark.parametrize("is_older", [True, False])
def test_known_backup__one_that_is_older_than_the_erasure__keeps_it_from_being_purged(
    erased: Erasure, settings: Settings, monkeypatch: pytest.MonkeyPatch, is_older: bool
) -> None:
    settings.BACKUP_RETENTION_DAYS = 30
    note_purge(timezone.now() + timedelta(minutes=1), bytes_gone=True, snapshots_gone=True)
    age(31)
    erased.refresh_from_db()
    assert erased.erased_at is not None
    taken_at = erased.erased_at + timedelta(seconds=-1 if is_older else 1)
    monkeypatch.setattr(registry, "_oldest_copies", [lambda: None, lambda: timezone.now(), lambda: taken_at])
    assert process().purged == (0 if is_older else 1)
    if is_older:
        assert (waits()["backups"], ErasureStep.objects.get(step="backups").waits_until) == ("retention", None)
        monkeypatch.setattr(registry, "_oldest_copies", [lambda: None])
        assert process().purged == 1
