"""Find and delete snapshots that may hold erased points, no matter which process or operator made them.

These are snapshots of collections, of single shards and of whole servers. They include those of dropped collections: Qdrant keeps their files, but
no request lists them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from django.conf import settings
from qdrant_client import QdrantClient
from qdrant_client.models import WalConfigDiff

from vectorstore.catalog import registry
from vectorstore.consistency.deletions import last_deletion_time
from vectorstore.models import VectorCollection
from vectorstore.qdrant.address import timeout_seconds
from vectorstore.qdrant.connection import collection_name
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

ONE_SECOND = timedelta(seconds=1)
"""Qdrant reports the time of a snapshot in whole seconds, rounded down."""
EXTRA_NUMBERS = 3
"""Collection numbers above the highest known one that are checked too."""


class Holds(StrEnum):
    """Where a snapshot may hold erased points.

    POINTS: it was made before the last removal. LOG: it was made later, with a copy of the write-ahead log of a collection that had the point. It may
    also contain segments with the point's bytes, if Qdrant had not rewritten them yet.
    """

    POINTS = "points"
    LOG = "log"


@dataclass(frozen=True, slots=True)
class StaleSnapshot:
    """A snapshot that may hold erased points. ``deleted``: the purge has deleted it."""

    snapshot: Snapshot
    holds: Holds
    deleted: bool = False

    @property
    def ours(self) -> bool:
        """Whether it contains only our collections. A snapshot of a whole server also contains those of other services."""
        return bool(self.snapshot.collection)


def find_stale_snapshots(client: QdrantClient, nodes: Sequence[Node]) -> tuple[StaleSnapshot, ...]:
    """Return the stale snapshots of existing collections, of their shards, and of the servers."""
    of_ours = (*snapshots_on(client, nodes), *shard_snapshots_on(client, nodes))
    return (*_suspects(of_ours), *_suspects_of_servers(server_snapshots_on(nodes)))


def delete_stale_snapshots(nodes: Sequence[Node], to_delete: Sequence[StaleSnapshot]) -> tuple[StaleSnapshot, ...]:
    delete_on(nodes, [one.snapshot for one in to_delete])
    return tuple(StaleSnapshot(one.snapshot, one.holds, deleted=True) for one in to_delete)


def snapshots_of_dropped_collections(client: QdrantClient, nodes: Sequence[Node], *, delete: bool) -> tuple[StaleSnapshot, ...]:
    """Return, and with ``delete`` also delete, the snapshots of our dropped collections.

    Qdrant lists the snapshots of an existing collection only. So an empty collection of each name is created temporarily. The caller must hold
    ``collection_lock``. If the run is killed, the temporary collection is later dropped like any failed collection.
    """
    found: list[StaleSnapshot] = []
    for name in _unused_names(client):
        registry.reserve(name, "")
        try:
            _create_temporary(client, name, replicas=len(nodes))
            snapshots = [one for node in nodes for one in (*snapshots_of(node, name), *shard_snapshots_of(node, name))]
            suspects = tuple(StaleSnapshot(one, Holds.POINTS) for one in snapshots)
            found += delete_stale_snapshots(nodes, suspects) if delete else suspects
        finally:
            drop(client, [name])
    return tuple(found)


def _create_temporary(client: QdrantClient, name: str, *, replicas: int) -> None:
    """Create an empty collection with all shards on every node, because a node lists the snapshots of its own shards only."""
    client.create_collection(
        name,
        vectors_config={},
        shard_number=settings.QDRANT_SHARD_NUMBER,
        replication_factor=replicas,
        wal_config=WalConfigDiff(wal_capacity_mb=1),
    )


def logs_with_removed(names: Sequence[str]) -> tuple[str, ...]:
    """Return the collections whose write-ahead log may hold removed points: those that existed at the last removal."""
    younger = set(VectorCollection.objects.filter(name__in=names, created_at__gt=last_deletion_time()).values_list("name", flat=True))
    return tuple(name for name in names if name not in younger)


def _suspects(snapshots: Sequence[Snapshot]) -> Iterator[StaleSnapshot]:
    """Yield the stale ones of the collection and shard ``snapshots``.

    The time of a removal is stored before Qdrant receives the request. One request timeout later, the removal is done or has failed. A snapshot older
    than its collection is of an earlier collection with the same name.
    """
    removed = _removed_by()
    with_log = set(logs_with_removed(sorted({one.collection for one in snapshots})))
    created = dict(VectorCollection.objects.values_list("name", "created_at"))
    for one in snapshots:
        if one.made_at <= max(removed, created.get(one.collection, removed) - ONE_SECOND):
            yield StaleSnapshot(one, Holds.POINTS)
        elif one.collection in with_log:
            yield StaleSnapshot(one, Holds.LOG)


def _suspects_of_servers(snapshots: Sequence[Snapshot]) -> Iterator[StaleSnapshot]:
    """Yield the stale ones of the whole-server ``snapshots``.

    Qdrant does not report which collections such a snapshot contains. If it is younger than the live collection, it contains the current ones.
    Otherwise it may also contain the previous one.
    """
    with_log = bool(logs_with_removed([*registry.rows().values_list("name", flat=True)]))
    replaced = _replaced_by()
    for one in snapshots:
        if one.made_at <= _removed_by():
            yield StaleSnapshot(one, Holds.POINTS)
        elif with_log or (replaced is not None and one.made_at <= replaced):
            yield StaleSnapshot(one, Holds.LOG)


def _removed_by() -> datetime:
    return last_deletion_time() + timedelta(seconds=timeout_seconds())


def _replaced_by() -> datetime | None:
    """Return the time by which the previous live collection was dropped, if it was not retained.

    None if there is no live collection, or if it is the first one.
    """
    found = registry.rows().filter(state=registry.State.LIVE).first()
    if found is None or found.live_since is None or registry.number_of(found.name) == 1:
        return None
    return found.live_since + timedelta(seconds=settings.SYNC_LEASE_SECONDS + DROP_SECONDS)


def _unused_names(client: QdrantClient) -> list[str]:
    """Return the collection names of ours that do not exist now: up to the highest known number and a few above, and the name of a copy.

    The collection that was dropped last may have had the highest number.
    """
    existing = {found.name for found in client.get_collections().collections}
    numbers = map(registry.number_of, (*existing, *registry.rows().values_list("name", flat=True)))
    highest = max(numbers, default=0) + EXTRA_NUMBERS
    names = [*(f"{collection_name()}_v{number}" for number in range(1, highest + 1)), registry.copy_name()]
    return [name for name in names if name not in existing]
