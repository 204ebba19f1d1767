"""Have what differs put right: people go on the queue, points that no worker can come to are deleted, and both stores begin anew with one checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from qdrant_client import QdrantClient
from qdrant_client.models import ExtendedPointId, PointIdsList, WriteOrdering

from findme.core.errors import UserFacingError
from findme.core.plurals import counted
from vectorstore.consistency.checkpoint import CheckpointNotWritten, reset_checkpoint
from vectorstore.consistency.versions import highest, raise_above
from vectorstore.models import QueueEntry
from vectorstore.qdrant.connection import qdrant
from vectorstore.queue.deletions import note_removal
from vectorstore.queue.entries import enqueue
from vectorstore.verification.drift import DriftReport


@dataclass(frozen=True, slots=True)
class Repaired:
    """People who were queued, points that were deleted, and whether both stores have a new checkpoint."""

    queued: int
    deleted: int
    checkpoint_written: bool


def too_many(collections: Sequence[DriftReport], max_changes: int | None) -> str | None:
    """The line where more differ than may be changed."""
    changes = sum(found.differing for found in collections)
    allowed = change_limit(sum(found.points for found in collections), max_changes)
    if changes <= allowed:
        return None
    return (
        f"{counted(changes, 'point differs', 'points differ')}, and at most {allowed:,} may be changed: nothing was. See that both stores are the right ones; then run it"
        " again with --force, or with a higher --max-changes."
    )


def count_unique(collections: Sequence[DriftReport]) -> int:
    """The points that a repair would delete although they hold the only copy of a vector."""
    return sum(found.unique_vectors for found in collections)


def repair(client: QdrantClient, collections: Sequence[DriftReport]) -> Repaired:
    """Raises StoreUnavailable.

    First the sequence of versions: a worker who allocates a lower one for somebody who is queued is refused by Qdrant, and takes what is there for the
    later write. Then the queue, and the checkpoints last: as long as these say that a store was restored to an older copy, nobody begins to write.

    The caller has compared the unique vectors with what the operator allows to discard.
    """
    for found in collections:
        raise_above(max(found.highest, highest(client, found.name)))
    queued = deleted = 0
    for found in collections:
        for chunk in found.unbeatable.chunks():
            _delete(client, found.name, [str(UUID(int=number)) for number in chunk])
        for chunk in found.unique.chunks():
            enqueue((UUID(int=number) for number in chunk), cause=QueueEntry.Cause.DELETION)
        for chunk in found.users.chunks():
            queued += enqueue(UUID(int=number) for number in chunk)
        for chunk in found.numbers.chunks():
            deleted += _delete(client, found.name, chunk)
    return Repaired(queued, deleted, _write_checkpoint(client))


def _write_checkpoint(client: QdrantClient) -> bool:
    try:
        return reset_checkpoint(client)
    except CheckpointNotWritten:
        return False


def _delete(client: QdrantClient, collection: str, ids: Sequence[ExtendedPointId]) -> int:
    """Delete, and read back by retrieving: a count goes on counting deleted points for a while."""
    with qdrant():  # for its errors
        note_removal()
        client.delete(collection, PointIdsList(points=list(ids)), wait=True, ordering=WriteOrdering.MEDIUM)
        left = client.retrieve(collection, list(ids), with_payload=False, with_vectors=False)
    if left:
        raise UserFacingError(
            f"{counted(len(left), 'point is', 'points are')} still in {collection!r} after their deletion: look at Qdrant's log, and run it again."
        )
    return len(ids)


FEWEST = 100
SHARE = 0.05


def change_limit(points: int, max_changes: int | None) -> int:
    """MAX_CHANGES, by default the greater of 100 and 5 % of the POINTS: more than that is no drift but an accident, which somebody should look at."""
    return max(FEWEST, int(SHARE * points)) if max_changes is None else max_changes
