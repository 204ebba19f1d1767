"""How the vector store is, as PostgreSQL knows it: read at a cost that does not grow with the tables."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from findme.core.triggers.problems import trigger_problems
from vectorstore.models import StoreState, VectorCollection, Verification

COUNTED = 1_000
"""How far anything is counted."""

QUEUE_STATUS = f"""
    SELECT (SELECT count(*) FROM (SELECT FROM vector_sync_queue LIMIT {COUNTED + 1}) q),
           (SELECT clock_timestamp() - queued_at FROM vector_sync_queue WHERE isfinite(queued_at) ORDER BY id LIMIT 1),
           (SELECT count(*) FROM (SELECT FROM vector_sync_leases WHERE expires_at > clock_timestamp() LIMIT {COUNTED + 1}) l),
           (SELECT count(*) FROM (SELECT FROM vector_sync_quarantine LIMIT {COUNTED + 1}) a),
           (SELECT count(*) FROM vector_sync_workers WHERE heartbeat_at > clock_timestamp() - interval '1 minute')
"""  # noqa: S608  # a constant


@dataclass(frozen=True, slots=True)
class Counted:
    """A number of rows; one that is larger than ``COUNTED`` is not known any better."""

    count: int

    def __str__(self) -> str:
        return f"more than {COUNTED:,}" if self.count > COUNTED else f"{self.count:,}"

    def __bool__(self) -> bool:
        return self.count > 0


@dataclass(frozen=True, slots=True)
class State:
    """``oldest_seconds`` is the age of the entry that has waited longest, None where nobody waits. ``workers`` have been seen in the last minute."""

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
    """When triggers were mended, if the stores have not been compared since."""


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """The numbers of ``State``."""

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
    # Qdrant's client takes most of a second to import, and this module is part of every command.
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
    """How many points differed in a verification, of all collections; one that differs in two ways counts twice."""
    kinds = ("missing", "orphaned", "stale payload", "stale vector")
    return sum(counts.get(kind, 0) for counts in found.get("collections", {}).values() for kind in kinds)
