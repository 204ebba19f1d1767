"""The newest points of a collection, remembered with the checkpoint: they show that it was restored from an older copy where the checkpoint cannot.

Whoever recovers a snapshot into a collection that is there gets its old points, but not its old metadata (seen on 1.18.3): the checkpoint stays. But a
person's point only ever gets a higher version, unless it is deleted; so where a person is quiescent, and their point is older than it was or
gone, the collection is older than it was.
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
"""Ids of people, with the versions of their points, as JSON keeps them."""

MANY = 8
"""As many as are remembered of each collection: some may leave meanwhile."""


def sentinel_points(newest: Mapping[str, Newest]) -> dict[str, list[tuple[str, int]]]:
    """Of those by collection who are to have a point: whoever is erased meanwhile is not remembered."""
    people = {UUID(point_id) for points in newest.values() for point_id, _ in points if isinstance(point_id, str)}
    known = {str(person) for person in ProfileEmbedding.objects.projectable().filter(pk__in=people).values_list("pk", flat=True)}
    return {
        name: [(point_id, version) for point_id, version in points if isinstance(point_id, str) and point_id in known]
        for name, points in newest.items()
    }


def contradict(client: QdrantClient, collection: str, remembered: Sentinels) -> bool:
    """Whether a point has become older, or is gone, of somebody who is to have one and whom nobody is writing. A quarantined user has none where
    no point can be made of their rows; they are let go in the transaction that quarantines them."""
    doubtful = _older(client, collection, {UUID(point_id): version for point_id, version in remembered})
    if not doubtful:
        return False
    before = quiescent_users(list(doubtful))
    still = _older(client, collection, doubtful)
    after = quiescent_users(list(still))
    unexplained = [person for person, rows in after.items() if before.get(person) == rows]
    return (
        bool(unexplained)
        and ProfileEmbedding.objects.projectable().filter(pk__in=unexplained).exclude(pk__in=QuarantinedUser.objects.values("pk")).exists()
    )


def _older(client: QdrantClient, collection: str, remembered: dict[UUID, int]) -> dict[UUID, int]:
    """Those of the remembered whose point is absent, or has a lower version or none."""
    if not remembered:
        return {}
    records = client.retrieve(collection, [str(person) for person in remembered], with_payload=["version"], with_vectors=False)
    there = {UUID(str(record.id)): version_of(record.payload) or 0 for record in records}
    return {person: version for person, version in remembered.items() if there.get(person, -1) < version}
