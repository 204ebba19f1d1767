"""A durable note that both stores must be compared, because triggers were mended and did not capture every change before.

Mended triggers look like triggers that were never lost. Without the note, a process that is killed between the mending and the end of the comparison
would leave no sign of the changes that no worker knows of.
"""

from __future__ import annotations

from datetime import datetime

from django.db import connection

from vectorstore.models import QueueEntry, StoreState, SyncLease
from vectorstore.queue.entries import ALL_USERS, enqueue


def note_comparison_due() -> None:
    """Note that a comparison is due from now on, in the transaction that mends the triggers. The newest note replaces an older one.

    Users that a worker holds are queued: it may have read their rows before a change that was not captured, and write them after the comparison.
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
    """Return when triggers were last mended, or None if the stores were compared since."""
    return StoreState.objects.filter(pk=1).values_list("comparison_due_at", flat=True).first()


def clear_comparison_due(noted: datetime) -> None:
    """Remove the note that was there before the comparison began. Triggers that were mended meanwhile need another comparison: their note stays."""
    StoreState.objects.filter(pk=1, comparison_due_at=noted).update(comparison_due_at=None)


def comparison_due_warning(due_at: datetime) -> str:
    when = f"{due_at:%Y-%m-%d %H:%M:%S} UTC"
    return f"Changes from before {when} may be missing in Qdrant: triggers were mended then, and the stores have not been compared since."
