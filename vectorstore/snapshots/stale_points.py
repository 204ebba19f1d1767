"""Delete the points of a restored collection that differ from PostgreSQL.

The backfill then only has to write missing points.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from uuid import UUID

from qdrant_client import QdrantClient
from qdrant_client.models import ExtendedPointId, PointIdsList

from accounts.age import today
from findme.core.commands.progress import Report, ignore_progress
from vectorstore.consistency.deletions import note_deletion_time
from vectorstore.consistency.versions import allocate_version
from vectorstore.projection.points import expected_among
from vectorstore.qdrant import write
from vectorstore.qdrant.scroll import pages
from vectorstore.verification.compare import Difference, compare


@dataclass(frozen=True, slots=True)
class StalePoints:
    """``removed`` points are gone, of those that were ``different``. ``equal`` points are exactly those of their users today."""

    removed: int
    different: int
    equal: int


def remove_stale_points(
    client: QdrantClient, collection: str, report: Report = ignore_progress, *, before_deletion: Callable[[], object] = lambda: None
) -> StalePoints:
    """Delete every point without a user, and every point that differs from the user's rows today.

    ``before_deletion`` is called once before the first deletion, and not at all without one. The comparison includes ages. Workers may already write
    to the collection: their points have a higher version than the one allocated here, and are not deleted.
    """
    version = allocate_version()
    seen = removed = different = equal = 0
    total = client.count(collection, exact=False).count
    for page in pages(collection):
        compared = compare(expected_among(page.ids), page, today())
        if compared.differences or page.numbers:
            if not different:
                before_deletion()
            different += len(compared.differences) + len(page.numbers)
            removed += _delete(client, collection, compared.differences, page.numbers, version)
        equal += len(page.ids) - len(compared.differences) - compared.waiting
        seen += len(page.ids) + len(page.numbers)
        report(min(seen, total), total)
    return StalePoints(removed, different, equal)


def _delete(client: QdrantClient, collection: str, stale: Mapping[UUID, Difference], numbers: list[int], version: int) -> int:
    """Delete the points and return how many are gone.

    A numeric id never belongs to a user, so no worker writes such a point. A point with an unbeatable version first loses its version:
    the conditional delete would otherwise treat it as newer.
    """
    user_ids: list[ExtendedPointId] = [*map(str, stale)]
    unbeatable: list[ExtendedPointId] = [str(user_id) for user_id, difference in stale.items() if difference.unbeatable]
    note_deletion_time()
    if unbeatable:
        client.delete_payload(collection, keys=["version"], points=unbeatable, wait=True)
    if user_ids:
        write.delete(client, collection, user_ids, version)
    if numbers:
        client.delete(collection, PointIdsList(points=[*numbers]), wait=True)
    ids = [*user_ids, *numbers]
    return len(ids) - len(client.retrieve(collection, ids, with_payload=False, with_vectors=False))
