"""Delete entries of the ledger after their retention, in both copies. A signed checkpoint continues the chain.

The order is: the checkpoint in PostgreSQL, the checkpoint outside, the entries in PostgreSQL, the objects outside. A process can be killed after each
step, and the next call continues. No entry is deleted before a checkpoint in the same copy covers it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise

from django.db import transaction
from django.db.models import Min

from findme.core.db.clock import database_clock
from privacy.ledger.book import digest_at, last_checkpoint, last_position
from privacy.ledger.checkpoint import Checkpoint, row_of, signed, verify_checkpoint
from privacy.ledger.entry import LedgerBroken
from privacy.ledger.keys import subject_keys
from privacy.ledger.outside import OutsideLedger, outside_ledger
from privacy.ledger.publication import checkpoint_outside, content_of_checkpoint, publish, publishing
from privacy.ledger.signing import signing_key, verifying_keys
from privacy.ledger.verify import start_outside
from privacy.models import LedgerEntry, PendingAction
from privacy.models.expired_records import delete_expired_records
from privacy.registry import registry


def count_expired(days: int) -> int:
    """Return how many entries a checkpoint would cover. It ends with an object of the ledger outside."""
    end = _last_expired(outside_ledger(), _before(database_clock(), days))
    return LedgerEntry.objects.filter(position__lte=max(end, last_checkpoint().position)).count()


def expire(days: int) -> int:
    """Delete the entries that are older than ``days``, and than the oldest known backup, in both copies. Return how many were deleted in PostgreSQL.

    PostgreSQL refuses to delete entries of the last three years. Raise UserFacingError as ``record_entries`` does, and LedgerBroken.
    """
    key, outside = signing_key(), outside_ledger()
    with publishing():
        publish(outside, key)
        _agree(outside)
        now = database_clock()
        end = _last_expired(outside, _before(now, days))
        if end > last_checkpoint().position:
            entry = LedgerEntry.objects.get(pk=end)
            checkpoint = signed(Checkpoint(end, bytes(entry.digest), entry.recorded_at, days, now), key)
            with transaction.atomic(durable=True):
                row_of(checkpoint).save(force_insert=True)
            _agree(outside)
        deleted = delete_expired_records(LedgerEntry)
        for first, last in _objects(outside):
            if last <= last_checkpoint().position:
                outside.delete(first)
    return deleted


def _before(now: datetime, days: int) -> datetime:
    """Return the time since which entries stay. What was done after the oldest known backup must be repeated if that backup is restored."""
    expired, oldest = now - timedelta(days=days), registry.oldest_copy()
    return expired if oldest is None else min(expired, oldest)


def _agree(outside: OutsideLedger) -> None:
    """Copy the last checkpoint to the copy that lacks it. Raise LedgerBroken if the copies have different ones, or one with a wrong signature."""
    keys = verifying_keys()
    ours, theirs = last_checkpoint(), start_outside(outside, keys)
    if ours.position < theirs.position:
        if digest_at(theirs.position) != theirs.digest:
            raise _differs(theirs)
        with transaction.atomic(durable=True):
            row_of(theirs).save(force_insert=True)
    elif ours.position:
        is_new = outside.create_checkpoint(ours.position, content_of_checkpoint(verify_checkpoint(ours, keys)))
        if not is_new and checkpoint_outside(outside, ours.position).token != ours.token:
            raise _differs(ours)


def _differs(checkpoint: Checkpoint) -> LedgerBroken:
    return LedgerBroken(f"The checkpoint at entry {checkpoint.position} differs between the copies. Run manage.py verify_ledger.")


def _last_expired(outside: OutsideLedger, before: datetime) -> int:
    """Return the end of the last object outside whose entries, and all before, were recorded before the time. Without one, return 0.

    An entry of an action that is not complete stays, and all entries after it.
    """
    keys = subject_keys()
    pending = [subject for user in PendingAction.objects.values_list("user_id", flat=True).distinct() for subject in keys.subjects(user)]
    first_kept = [
        LedgerEntry.objects.filter(recorded_at__gte=before).aggregate(first=Min("position"))["first"],
        LedgerEntry.objects.filter(subject__in=pending).aggregate(first=Min("position"))["first"],
        last_position() + 1,
    ]
    kept = min(position for position in first_kept if position is not None)
    return max((last for _first, last in _objects(outside) if last < kept), default=0)


def _objects(outside: OutsideLedger) -> Iterator[tuple[int, int]]:
    """Yield the first and the last position of each object. All entries are published."""
    return ((first, following - 1) for first, following in pairwise([*outside.firsts(), last_position() + 1]))
