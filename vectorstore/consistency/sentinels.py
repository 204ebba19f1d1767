"""Sentinel points: the newest points of a collection, stored with the checkpoint to detect a restored collection.

A snapshot that is recovered into an existing collection replaces its points, but not its metadata (seen on Qdrant 1.18.3), so the checkpoint cannot show
it. A user's point only gets higher versions, unless it is deleted. So if a user is quiescent, and the point is older than it was or gone, the
collection is older than it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias
from uuid import UUID

from qdrant_client import QdrantClient

from vectorstore.consistency.quiescence import quiescent_users
from vectorstore.consistency.versions import Newest, version_of
from vectorstore.models import ProfileEmbedding, QuarantinedUser

Sentinels: TypeAlias = Sequence[tuple[str, int]]
"""Ids of users with the versions of their points, as stored in JSON."""

SENTINEL_COUNT = 8
"""Sentinel points of each collection. There are several, because some of the users may be erased in the meantime."""


def sentinel_points(newest: Mapping[str, Newest]) -> dict[str, list[tuple[str, int]]]:
    """Return the sentinel points by collection, only of users who must have a point: erased users are not stored."""
    user_ids = {UUID(point_id) for points in newest.values() for point_id, _ in points if isinstance(point_id, str)}
    known = {str(user_id) for user_id in ProfileEmbedding.objects.projectable().filter(pk__in=user_ids).values_list("pk", flat=True)}
    return {
        name: [(point_id, version) for point_id, version in points if isinstance(point_id, str) and point_id in known]
        for name, points in newest.items()
    }


def is_older_than_sentinels(client: QdrantClient, collection: str, sentinels: Sentinels) -> bool:
    """Return whether a point is older than its sentinel or gone, although its quiescent user must have one.

    A quarantined user may have no point, if no point can be made from the user's rows. The lease ends in the transaction that quarantines the
    user.
    """
    doubtful = _older(client, collection, {UUID(point_id): version for point_id, version in sentinels})
    if not doubtful:
        return False
    before = quiescent_users(list(doubtful))
    still = _older(client, collection, doubtful)
    after = quiescent_users(list(still))
    unexplained = [user_id for user_id, rows in after.items() if before.get(user_id) == rows]
    return (
        bool(unexplained)
        and ProfileEmbedding.objects.projectable().filter(pk__in=unexplained).exclude(pk__in=QuarantinedUser.objects.values("pk")).exists()
    )


def _older(client: QdrantClient, collection: str, sentinels: dict[UUID, int]) -> dict[UUID, int]:
    """Return the sentinels whose point is absent, has a lower version or has none."""
    if not sentinels:
        return {}
    records = client.retrieve(collection, [str(user_id) for user_id in sentinels], with_payload=["version"], with_vectors=False)
    current = {UUID(str(record.id)): version_of(record.payload) or 0 for record in records}
    return {user_id: version for user_id, version in sentinels.items() if current.get(user_id, -1) < version}
