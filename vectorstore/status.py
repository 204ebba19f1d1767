"""Read the status of the vector store from PostgreSQL, at a cost that does not grow with the tables."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from findme.core.triggers.problems import trigger_problems
from vectorstore.models import StoreState, VectorCollection, Verification

MAX_COUNT = 1_000
"""Maximum number of rows that a query counts."""

QUEUE_STATUS = f"""
    SELECT (SELECT count(*) FROM (SELECT FROM vector_sync_queue LIMIT {MAX_COUNT + 1}) q),
           (SELECT clock_timestamp() - queued_at FROM vector_sync_queue WHERE isfinite(queued_at) ORDER BY id LIMIT 1),
           (SELECT count(*) FROM (SELECT FROM vector_sync_leases WHERE expires_at > clock_timestamp() LIMIT {MAX_COUNT + 1}) l),
           (SELECT count(*) FROM (SELECT FROM vector_sync_quarantine LIMIT {MAX_COUNT + 1}) a),
           (SELECT count(*) FROM vector_sync_workers WHERE heartbeat_at > clock_timestamp() - interval '1 minute')
"""  # noqa: S608  # a constant


@dataclass(frozen=True, slots=True)
class Counted:
    """A number of rows. A number above ``MAX_COUNT`` means "more"."""

    count: int

    def __str__(self) -> str:
        return f"more than {MAX_COUNT:,}" if self.count > MAX_COUNT else f"{self.count:,}"

    def __bool__(self) -> bool:
        return self.count > 0


@dataclass(frozen=True, slots=True)
class State:
    """Status of the vector store.

    ``oldest_seconds`` is the age of the oldest queue entry, None if the queue is empty. ``workers`` counts the workers with a heartbeat in the last minute.
    """

    alias: str
    collections: list[VectorCollection]
    queued: Counted
    oldest_seconds: float | None
    leased: Counted
    quarantined: Counted
    workers: int
    verification: Verification | None
    checkpoint_at: datetime | None
    triggers: tuple[str, ...]
    """Triggers that are not as migrated: changes may not be captured."""
    comparison_due_at: datetime | None
    """When triggers were repaired, if the stores have not been compared since."""


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """The counts of ``State``."""

    queued: Counted
    oldest_seconds: float | None
    leased: Counted
    quarantined: Counted
    workers: int


def queue_status() -> QueueStatus:
    with connection.cursor() as cursor:
        cursor.execute(QUEUE_STATUS)
        queued, oldest, leased, quarantined, workers = cursor.fetchone()
    return QueueStatus(
        Counted(queued), oldest.total_seconds() if oldest is not None else None, Counted(leased), Counted(quarantined), workers
    )


def state() -> State:
    # qdrant-client takes most of a second to import, and every command imports this module.
    from vectorstore.qdrant.connection import collection_name

    alias, store = collection_name(), StoreState.current()
    now = queue_status()
    return State(
        alias,
        list(VectorCollection.objects.of(alias).order_by("-created_at", "-name")),
        now.queued,
        now.oldest_seconds,
        now.leased,
        now.quarantined,
        now.workers,
        Verification.objects.filter(alias=alias).order_by("-finished_at").first(),
        store.checkpoint_at,
        tuple(map(str, trigger_problems())),
        store.comparison_due_at,
    )


def differing(found: dict[str, Any]) -> int:
    """Return how many points differed in a verification, in all collections. A point with two differences counts twice."""
    kinds = ("missing", "orphaned", "stale payload", "stale vector", "foreign vector")
    return sum(counts.get(kind, 0) for counts in found.get("collections", {}).values() for kind in kinds)
