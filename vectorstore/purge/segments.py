"""The files that hold the points: what Qdrant says of each of them, on every server."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from vectorstore.snapshots.nodes import Node
from vectorstore.snapshots.transfer import ask

DETAILS = "10"
"""The most that Qdrant tells."""


@dataclass(frozen=True, slots=True)
class Segment:
    """``deleted`` points are out of reach, and their bytes are in its files, beside those of the ``points`` that are there."""

    node: str
    collection: str
    id: str
    points: int
    deleted: int


def segments(nodes: Sequence[Node], collections: Collection[str]) -> list[Segment]:
    """All of them. Raises StoreUnavailable."""
    return [one for node in nodes for one in _segments_of(node) if one.collection in collections]


def _segments_of(node: Node) -> Iterator[Segment]:
    """Read as it comes: the driver's models of these answers fit one release of the server, and refuse those of another."""
    for collection in ask(node.address, "/telemetry", details_level=DETAILS)["collections"]["collections"]:
        for shard in collection.get("shards") or ():
            for one in (shard.get("local") or {}).get("segments") or ():
                yield _segment(node.address.url, collection["id"], one["info"])


def _segment(node: str, collection: str, info: dict[str, Any]) -> Segment:
    return Segment(node, collection, info["uuid"], info["num_points"], info["num_deleted_vectors"])
