"""Repair differences: enqueue users, delete points that no worker can sync, and give both stores a new checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from qdrant_client import QdrantClient
from qdrant_client.models import ExtendedPointId, PointIdsList, WriteOrdering

from findme.core.errors import UserFacingError
from findme.core.plurals import counted
from vectorstore.consistency.checkpoint import CheckpointNotWritten, reset_checkpoint
from vectorstore.consistency.deletions import note_deletion_time
from vectorstore.consistency.versions import highest, raise_above
from vectorstore.models import QueueEntry
from vectorstore.qdrant.connection import qdrant
from vectorstore.queue.entries import enqueue
from vectorstore.verification.drift import DriftReport


@dataclass(frozen=True, slots=True)
class Repaired:
    """Users that were enqueued, points that were deleted, and whether both stores have a new checkpoint."""

    queued: int
    deleted: int
    checkpoint_written: bool


def too_many(collections: Sequence[DriftReport], max_changes: int | None) -> str | None:
    """Return the error message if more points differ than may be changed, otherwise None."""
    changes = sum(found.differing for found in collections)
    allowed = change_limit(sum(found.points for found in collections), max_changes)
    if changes <= allowed:
        return None
    return (
        f"{counted(changes, 'point differs', 'points differ')} and the limit is {allowed:,}: nothing was changed. Check that DATABASE_URL and QDRANT_URL"
        f" belong together, then rerun with --max-changes {changes} or --force."
    )


def count_unique(collections: Sequence[DriftReport]) -> int:
    """Return how many points a repair would delete although they hold the only copy of a vector."""
    return sum(found.unique_vectors for found in collections)


def foreign_vectors_problem(collections: Sequence[DriftReport], discard_vectors: int) -> str | None:
    """Return the error message if a repair would overwrite more foreign vectors than ``discard_vectors``, otherwise None."""
    found = [one for one in collections if one.foreign_vectors]
    count = sum(one.foreign_vectors for one in found)
    if count + count_unique(collections) <= discard_vectors or not found:
        return None
    return (
        f"Another program wrote {counted(count, 'vector')} to {found[0].name!r}: nothing was changed."
        f" Run manage.py import_embeddings --from-collection {found[0].name}, then repair again, or add"
        f" --discard-vectors {count + count_unique(collections)}."
    )


def repair(client: QdrantClient, collections: Sequence[DriftReport]) -> Repaired:
    """Enqueue and delete what differs, in the order that is safe after a restore. Raises StoreUnavailable.

    1. The version sequence. Qdrant would reject a worker's lower version, and the worker would mistake the stored point for a later write.
    2. The queue.
    3. The checkpoints. Until they are reset they show a restored store, so no worker starts to write.

    The caller has compared the unique vectors with the number that the operator allows to discard.
    """
    for found in (one for one in collections if not one.orphans_only):
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
    """Delete the points, and retrieve them as proof: Qdrant 1.18.3 keeps counting deleted points for a while."""
    # The context translates Qdrant's errors.
    with qdrant():
        note_deletion_time()
        client.delete(collection, PointIdsList(points=list(ids)), wait=True, ordering=WriteOrdering.MEDIUM)
        remaining = client.retrieve(collection, list(ids), with_payload=False, with_vectors=False)
    if remaining:
        raise UserFacingError(
            f"{counted(len(remaining), 'point is', 'points are')} still in {collection!r} after their deletion. Check Qdrant's log, then run the command again."
        )
    return len(ids)


MIN_CHANGE_LIMIT = 100
CHANGE_LIMIT_SHARE = 0.05


def change_limit(points: int, max_changes: int | None) -> int:
    """Return ``max_changes``, by default the greater of 100 and 5 % of ``points``.

    More differences than that are an accident, not drift. An operator must look at them.
    """
    return max(MIN_CHANGE_LIMIT, int(CHANGE_LIMIT_SHARE * points)) if max_changes is None else max_changes
