"""Snapshots that may hold erased points, whoever made them: of collections, of single shards, of whole servers; also those of collections that are gone:
Qdrant keeps their files, and shows them to nobody."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from django.conf import settings
from qdrant_client import QdrantClient
from qdrant_client.models import WalConfigDiff

from vectorstore.catalog import registry
from vectorstore.models import VectorCollection
from vectorstore.qdrant.address import timeout_seconds
from vectorstore.qdrant.connection import collection_name
from vectorstore.queue.deletions import last_removal
from vectorstore.retention.drop import DROP_SECONDS, drop
from vectorstore.snapshots.nodes import Node
from vectorstore.snapshots.repository import (
    Snapshot,
    delete_on,
    server_snapshots_on,
    shard_snapshots_of,
    shard_snapshots_on,
    snapshots_of,
    snapshots_on,
)

A_SECOND = timedelta(seconds=1)
"""Qdrant tells the time of a snapshot to the second, rounded down."""
BEYOND = 3
"""Numbers above the highest one that are looked at too."""


class Holds(StrEnum):
    """Why a snapshot may hold erased points: it was made before the last one was removed; or after that, with a copy of the write-ahead log of a
    collection that had it (and of segments with the point's bytes, if they had not been rewritten yet)."""

    POINTS = "points"
    LOG = "log"


@dataclass(frozen=True, slots=True)
class StaleSnapshot:
    """A snapshot, and what of the erased it may hold. ``deleted``: it did."""

    snapshot: Snapshot
    holds: Holds
    deleted: bool = False

    @property
    def ours(self) -> bool:
        """Whether nobody else's collections are in it."""
        return bool(self.snapshot.collection)


def find_stale_snapshots(client: QdrantClient, nodes: Sequence[Node]) -> tuple[StaleSnapshot, ...]:
    """Those of the collections that are there, of their shards, and of the servers."""
    of_ours = (*snapshots_on(client, nodes), *shard_snapshots_on(client, nodes))
    return (*_suspects(of_ours), *_suspects_of_servers(server_snapshots_on(nodes)))


def delete_stale_snapshots(nodes: Sequence[Node], doomed: Sequence[StaleSnapshot]) -> tuple[StaleSnapshot, ...]:
    delete_on(nodes, [one.snapshot for one in doomed])
    return tuple(StaleSnapshot(one.snapshot, one.holds, deleted=True) for one in doomed)


def snapshots_of_dropped_collections(client: QdrantClient, nodes: Sequence[Node], *, delete: bool) -> tuple[StaleSnapshot, ...]:
    """Those of collections of ours that are gone. An empty one of each name is made for a moment, since Qdrant shows only then what it has.

    Only under ``collection_lock``. What is left of that by a killed run is dropped like every collection that failed.
    """
    found: list[StaleSnapshot] = []
    for name in _gone(client):
        registry.reserve(name, "")
        try:
            _make_for_a_moment(client, name, replicas=len(nodes))
            there = [one for node in nodes for one in (*snapshots_of(node, name), *shard_snapshots_of(node, name))]
            suspects = tuple(StaleSnapshot(one, Holds.POINTS) for one in there)
            found += delete_stale_snapshots(nodes, suspects) if delete else suspects
        finally:
            drop(client, [name])
    return tuple(found)


def _make_for_a_moment(client: QdrantClient, name: str, *, replicas: int) -> None:
    """With all of its shards on every node: each shows the snapshots of those that it has."""
    client.create_collection(
        name,
        vectors_config={},
        shard_number=settings.QDRANT_SHARD_NUMBER,
        replication_factor=replicas,
        wal_config=WalConfigDiff(wal_capacity_mb=1),
    )


def logs_with_removed(names: Sequence[str]) -> tuple[str, ...]:
    """The collections whose write-ahead log may hold removed points: those that were there when the last one was removed."""
    younger = set(VectorCollection.objects.filter(name__in=names, created_at__gt=last_removal()).values_list("name", flat=True))
    return tuple(name for name in names if name not in younger)


def _suspects(snapshots: Sequence[Snapshot]) -> Iterator[StaleSnapshot]:
    """The removal was noted before it was asked for, and had been carried out, or had failed, a request's timeout later. What is older than its
    collection is of another one that had the name before."""
    removed = _removed_by()
    with_log = set(logs_with_removed(sorted({one.collection for one in snapshots})))
    begun = dict(VectorCollection.objects.values_list("name", "created_at"))
    for one in snapshots:
        if one.made_at <= max(removed, begun.get(one.collection, removed) - A_SECOND):
            yield StaleSnapshot(one, Holds.POINTS)
        elif one.collection in with_log:
            yield StaleSnapshot(one, Holds.LOG)


def _suspects_of_servers(snapshots: Sequence[Snapshot]) -> Iterator[StaleSnapshot]:
    """Nobody sees which collections are in it: those that are there now, if it is younger than the live one; or else also the one that was before."""
    with_log = bool(logs_with_removed([*registry.rows().values_list("name", flat=True)]))
    replaced = _replaced_by()
    for one in snapshots:
        if one.made_at <= _removed_by():
            yield StaleSnapshot(one, Holds.POINTS)
        elif with_log or (replaced is not None and one.made_at <= replaced):
            yield StaleSnapshot(one, Holds.LOG)


def _removed_by() -> datetime:
    return last_removal() + timedelta(seconds=timeout_seconds())


def _replaced_by() -> datetime | None:
    """When the collection that was live before had been dropped, if nobody retained it. The first one replaced nothing."""
    found = registry.rows().filter(state=registry.State.LIVE).first()
    if found is None or found.live_since is None or registry.number_of(found.name) == 1:
        return None
    return found.live_since + timedelta(seconds=settings.SYNC_LEASE_SECONDS + DROP_SECONDS)


def _gone(client: QdrantClient) -> list[str]:
    """The names that were used before those that are there; and some after them, since what was dropped last may have had the highest number."""
    there = {found.name for found in client.get_collections().collections}
    numbers = map(registry.number_of, (*there, *registry.rows().values_list("name", flat=True)))
    highest = max(numbers, default=0) + BEYOND
    return [name for number in range(1, highest + 1) if (name := f"{collection_name()}_v{number}") not in there]
