"""From ``erased`` to ``purged``: no byte is left in the stores, their snapshots and the backups."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.models import Case, Exists, OuterRef, Q, QuerySet, When
from django.db.models.functions import Now

from findme.core.db.advisory_lock import AdvisoryLock
from findme.core.db.expressions import ClockTimestamp
from findme.core.errors import StoreUnavailable
from privacy.actions.erasures import State, Step, WaitsFor
from privacy.models import Erasure, ErasureStep
from privacy.registry import registry

LOCK = 7_021_339_562_118_413
"""Key of the advisory lock of the process that scans the stores. Any otherwise unused number."""
SCAN_PAUSE = timedelta(hours=23)
"""A scan reads all data of a store, so it runs once a day."""
RETRY_PAUSE = timedelta(minutes=10)
"""When a scan that could not reach a store is tried again."""
USERS_OF_SCAN = 100_000
"""When a scan looks for so many users, further erasures wait for the next one."""


def note_purge(before: datetime, *, bytes_gone: bool, snapshots_gone: bool) -> None:
    """Record that a purge of a store, which began at ``before``, has left no byte of what was erased by then."""
    for step, is_gone in ((Step.SEGMENTS, bytes_gone), (Step.SNAPSHOTS, snapshots_gone)):
        if is_gone:
            _done(_open(step).filter(erasure__erased_at__lt=before))


def purge_erased() -> int:
    """Scan the stores if a scan is due, check what the erased users' backups wait for, and return how many erasures became ``purged``.

    Another process that does this already does it alone.
    """
    lock = AdvisoryLock(connection, LOCK)
    if not lock.try_acquire():
        return 0
    try:
        if _open(Step.SCAN).exists() and _scan_is_due():
            _scan()
        _check_backups()
        if not any(store.keeps_deleted_bytes for store in registry.stores):
            _note_overwritten()
        for step, waits_for in ((Step.SEGMENTS, WaitsFor.WRITE_LOG), (Step.SNAPSHOTS, WaitsFor.SNAPSHOTS)):
            _open(step).filter(waits_for="").update(checked_at=ClockTimestamp(), waits_for=waits_for)
        is_open = ErasureStep.objects.filter(erasure=OuterRef("pk"), done_at__isnull=True)
        return Erasure.objects.filter(~Exists(is_open), state=State.ERASED).update(state=State.PURGED, purged_at=ClockTimestamp())
    finally:
        lock.release()


def found_again() -> tuple[UUID, ...]:
    """Return the erasures with a user that the last scan has found."""
    found = _open(Step.SCAN).filter(waits_for=WaitsFor.FINDING)
    return tuple(found.order_by("pk").values_list("erasure_id", flat=True))


def _scan_is_due() -> bool:
    scans = ErasureStep.objects.filter(step=Step.SCAN)
    recent = Q(checked_at__gt=Now() - RETRY_PAUSE, waits_for=WaitsFor.STORE) | Q(checked_at__gt=Now() - SCAN_PAUSE) & ~Q(
        waits_for=WaitsFor.STORE
    )
    return not scans.filter(recent).exists()


def _scan() -> None:
    """Read all data of all stores, once for all erasures. A finding stays open, and is reported."""
    steps = dict(_users_by_step())
    user_ids = frozenset[UUID]().union(*steps.values())
    try:
        found = frozenset[UUID]().union(*(store.scan(user_ids) for store in registry.stores))
    except StoreUnavailable:
        _wait(steps, WaitsFor.STORE)
        return
    _done(_open(Step.SCAN).filter(pk__in=[pk for pk, users in steps.items() if users.isdisjoint(found)]))
    _wait([pk for pk, users in steps.items() if not users.isdisjoint(found)], WaitsFor.FINDING)


def _users_by_step() -> Iterator[tuple[int, frozenset[UUID]]]:
    """Yield the oldest open scans with the users of their erasures."""
    total = 0
    for pk, user_id, batch in _open(Step.SCAN).order_by("pk").values_list("pk", "erasure__user_id", "erasure__user_ids").iterator():
        users = frozenset(batch or ([] if user_id is None else [user_id]))
        yield pk, users
        total += len(users)
        if total >= USERS_OF_SCAN:
            return


def _note_overwritten() -> None:
    """Record that no byte and no snapshot is left of each erasure with a finished scan."""
    scanned = ErasureStep.objects.filter(step=Step.SCAN, done_at__isnull=False, erasure=OuterRef("erasure"))
    for step in (Step.SEGMENTS, Step.SNAPSHOTS):
        _done(_open(step).filter(Exists(scanned)))


def _check_backups() -> None:
    """Wait until the retention that the operator has declared is over, and until no known backup is older than the erasure.

    Without a declaration, copies that FindMe does not know are never known to be gone.
    """
    backups = _open(Step.BACKUPS)
    if not settings.BACKUP_RETENTION_DAYS:
        backups.exclude(waits_for=WaitsFor.SETTING).update(checked_at=ClockTimestamp(), waits_for=WaitsFor.SETTING, waits_until=None)
        return
    retention = timedelta(days=settings.BACKUP_RETENTION_DAYS)
    oldest = registry.oldest_copy()
    is_over = Q(erasure__erased_at__lt=Now() - retention)
    _done(backups.filter(is_over) if oldest is None else backups.filter(is_over, erasure__erased_at__lt=oldest))
    rows = backups.annotate(is_over=Case(When(is_over, then=True), default=False))
    for pk, waits_for, waits_until, erased_at, only_known in rows.values_list(
        "pk", "waits_for", "waits_until", "erasure__erased_at", "is_over"
    ):
        assert erased_at is not None
        # When a known backup will be removed is unknown.
        until = None if only_known else erased_at + retention
        if (waits_for, waits_until) != (WaitsFor.RETENTION, until):
            backups.filter(pk=pk).update(checked_at=ClockTimestamp(), waits_for=WaitsFor.RETENTION, waits_until=until)


def _open(step: Step) -> QuerySet[ErasureStep]:
    return ErasureStep.objects.filter(step=step, done_at__isnull=True, erasure__state=State.ERASED)


def _done(steps: QuerySet[ErasureStep]) -> None:
    steps.update(done_at=ClockTimestamp(), checked_at=ClockTimestamp(), waits_for="", waits_until=None)


def _wait(steps: Collection[int], waits_for: WaitsFor) -> None:
    _open(Step.SCAN).filter(pk__in=steps).update(checked_at=ClockTimestamp(), waits_for=waits_for)
