"""Counts of the sync: of one batch, and of one run."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from vectorstore.queue.entries import Backlog


@dataclass(frozen=True, slots=True)
class RejectedUser:
    """A user whose data Qdrant rejects, with the collection and Qdrant's reason."""

    user_id: UUID
    collection: str
    reason: str


@dataclass(frozen=True, slots=True)
class BatchResult:
    """The counts of one batch, or of several.

    ``written`` and ``removed`` count points of the live collection. A removed point existed before. ``rejected`` users are quarantined.
    ``lost`` users had a lease that expired or was taken over. ``unique_vectors`` points of any collection were not deleted.
    """

    written: int = 0
    removed: int = 0
    rejected: tuple[RejectedUser, ...] = ()
    lost: int = 0
    unique_vectors: int = 0
    sent_at: datetime | None = field(default=None, compare=False)
    """When the last answered request was sent, by the database's clock."""

    def __add__(self, other: BatchResult) -> BatchResult:
        return BatchResult(
            self.written + other.written,
            self.removed + other.removed,
            (*self.rejected, *other.rejected),
            self.lost + other.lost,
            self.unique_vectors + other.unique_vectors,
            other.sent_at or self.sent_at,
        )


@dataclass(slots=True)
class SyncResult:
    """The counts of a run, and how it ended.

    ``remaining`` is the queue at the end. ``unavailable`` is why a store was still unreachable at the end. ``stopped`` means that a signal
    ended the run. ``unique_vectors`` points were not deleted, because they hold the only copy of a vector.
    """

    written: int = 0
    removed: int = 0
    quarantined: int = 0
    remaining: Backlog = field(default_factory=Backlog)
    unavailable: str | None = None
    stopped: bool = False
    unique_vectors: int = 0

    def add(self, batch: BatchResult) -> None:
        self.written += batch.written
        self.removed += batch.removed
        self.quarantined += len(batch.rejected)
        self.unique_vectors += batch.unique_vectors
