"""A durable record that both stores must be compared, because triggers had not captured all changes before their repair.

Repaired triggers look like triggers that were never lost. Without the record, a process that is killed between the repair and the end of the
comparison would leave no sign of the changes that no worker knows of.
"""

from __future__ import annotations

from datetime import datetime

from django.db import connection

from vectorstore.models import QueueEntry, StoreState, SyncLease
from vectorstore.queue.entries import ALL_USERS, enqueue


def note_comparison_due() -> None:
    """Record that a comparison is due from now on, in the transaction that repairs the triggers. This replaces an older record.

    Users who are leased by a worker are queued. The worker may have read their rows before a change that was not captured, and may write them
    after the comparison.
    """
    enqueue(SyncLease.objects.exclude(pk=ALL_USERS).values_list("pk", flat=True), cause=QueueEntry.Cause.RECHECK)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO vector_store_state (id, comparison_due_at) VALUES (1, clock_timestamp())
            ON CONFLICT (id) DO UPDATE SET comparison_due_at = EXCLUDED.comparison_due_at
            """
        )


def comparison_due_at() -> datetime | None:
    """Return the time of the last trigger repair, or None if the stores were compared since."""
    return StoreState.objects.filter(pk=1).values_list("comparison_due_at", flat=True).first()


def clear_comparison_due(noted: datetime) -> None:
    """Delete the record that existed before the comparison started.

    A newer record stays, because triggers that were repaired in the meantime need another comparison.
    """
    StoreState.objects.filter(pk=1, comparison_due_at=noted).update(comparison_due_at=None)


def comparison_due_warning(due_at: datetime) -> str:
    when = f"{due_at:%Y-%m-%d %H:%M:%S} UTC"
    return f"Changes from before {when} may be missing in Qdrant: triggers were repaired then, and the stores have not been compared since."
