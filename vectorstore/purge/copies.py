"""Snapshots that may hold erased points, also those of collections that are gone: Qdrant keeps their files, and shows them to nobody."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from qdrant_client import QdrantClient
from qdrant_client.models import WalConfigDiff

from vectorstore import registry
from vectorstore.address import timeout_seconds
from vectorstore.connection import collection_name
from vectorstore.models import VectorCollection
from vectorstore.purge.removals import last_removal
from vectorstore.rebuild.kept import drop
from vectorstore.snapshots.listing import Snapshot, delete_on, snapshots_of, snapshots_on
from vectorstore.snapshots.nodes import Node

A_SECOND = timedelta(seconds=1)
"""Qdrant tells the time of a snapshot to the second, rounded down."""
BEYOND = 3
"""Numbers above the highest one that are looked at too."""


class Holds(StrEnum):
    """Why a snapshot may hold erased points: it was made before the last one was removed; or after that, with a copy of the write-ahead log of a
    collection that had it."""

    POINTS = "points"
    LOG = "log"


@dataclass(frozen=True, slots=True)
class Copy:
    """A snapshot, and what of the erased it may hold. ``deleted``: it did."""

    snapshot: Snapshot
    holds: Holds
    deleted: bool = False


def copies(client: QdrantClient, nodes: Sequence[Node]) -> tuple[Copy, ...]:
    """Those of the collections that are there."""
    return tuple(_suspects(snapshots_on(client, nodes)))


def delete_copies(client: QdrantClient, nodes: Sequence[Node], doomed: Sequence[Copy]) -> tuple[Copy, ...]:
    delete_on(client, nodes, [one.snapshot for one in doomed])
    return tuple(Copy(one.snapshot, one.holds, deleted=True) for one in doomed)


def copies_of_the_gone(client: QdrantClient, nodes: Sequence[Node], *, delete: bool) -> tuple[Copy, ...]:
    """Those of collections of ours that are gone. An empty one of each name is made for a moment, since Qdrant shows only then what it has.

    Only under ``collection_lock``. What is left of that by a killed run is dropped like every collection that failed.
    """
    found: list[Copy] = []
    for name in _gone(client):
        registry.announce(name, "")
        try:
            client.create_collection(name, vectors_config={}, wal_config=WalConfigDiff(wal_capacity_mb=1))
            suspects = tuple(Copy(one, Holds.POINTS) for node in nodes for one in snapshots_of(node, name))
            found += delete_copies(client, nodes, suspects) if delete else suspects
        finally:
            drop(client, [name])
    return tuple(found)


def logs_with_removed(names: Sequence[str]) -> tuple[str, ...]:
    """The collections whose write-ahead log may hold removed points: those that were there when the last one was removed."""
    younger = set(VectorCollection.objects.filter(name__in=names, created_at__gt=last_removal()).values_list("name", flat=True))
    return tuple(name for name in names if name not in younger)


def _suspects(snapshots: Sequence[Snapshot]) -> Iterator[Copy]:
    """The removal was noted before it was asked for, and had been carried out, or had failed, a request's timeout later. What is older than its
    collection is of another one that had the name before."""
    removed = last_removal() + timedelta(seconds=timeout_seconds())
    with_log = set(logs_with_removed(sorted({one.collection for one in snapshots})))
    begun = dict(VectorCollection.objects.values_list("name", "created_at"))
    for one in snapshots:
        if one.made_at <= max(removed, begun.get(one.collection, removed) - A_SECOND):
            yield Copy(one, Holds.POINTS)
        elif one.collection in with_log:
            yield Copy(one, Holds.LOG)


def _gone(client: QdrantClient) -> list[str]:
    """The names that were used before those that are there; and some after them, since what was dropped last may have had the highest number."""
    there = {found.name for found in client.get_collections().collections}
    numbers = map(registry.number_of, (*there, *registry.rows().values_list("name", flat=True)))
    highest = max(numbers, default=0) + BEYOND
    return [name for number in range(1, highest + 1) if (name := f"{collection_name()}_v{number}") not in there]
