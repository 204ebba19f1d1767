"""The files that hold the points: what Qdrant says of each of them, on every server."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from findme.core.errors import UserFacingError
from vectorstore.catalog.lock import keep_session
from vectorstore.rebuild.build import at_work
from vectorstore.snapshots.nodes import Node
from vectorstore.snapshots.transfer import ask

DETAILS = "10"
"""The most that Qdrant tells."""
POLL_SECONDS = 0.1


class NotAtRest(UserFacingError):
    """Qdrant was given its time."""


@dataclass(frozen=True, slots=True)
class Segment:
    """``deleted`` points are out of reach, and their bytes are in its files, beside those of the ``points`` that are there. ``busy``: Qdrant is
    writing segments of its shard anew, and tells of no deleted points in those, also of such as come with their bytes into the new one."""

    node: str
    collection: str
    id: str
    points: int
    deleted: int
    busy: bool

    @property
    def key(self) -> tuple[str, str]:
        """A segment is known by its id: another one has taken the place of one that is gone."""
        return self.node, self.id


def segments(nodes: Sequence[Node], collection: str) -> list[Segment]:
    """All of the collection. Raises StoreUnavailable."""
    return [one for node in nodes for one in _segments_of(node) if one.collection == collection]


def segments_at_rest(nodes: Sequence[Node], collection: str, seconds: float) -> list[Segment]:
    """All of them, when none is being written anew; waited for as long as Qdrant gets on with that every SECONDS. Raises NotAtRest.

    Whether a shard is busy and what its segments hold is not told of one moment: so two looks that follow each other have to show the same segments.
    """
    before, stall = None, StallTimeout(nodes, collection, seconds)
    while True:
        found = segments(nodes, collection)
        now = {one.key for one in found}
        if now == before and not any(one.busy for one in found):
            return found
        before = now
        if stall.is_over(now):
            raise NotAtRest(
                f"Qdrant has been writing segments of {collection!r} anew for {seconds:g} s, and only then tells what is deleted in them: wait until"
                " the collection is green, or give it more time with --wait, and run it again."
            )


class StallTimeout:
    """It is over when nothing has got on for SECONDS: neither what the caller sees, nor what Qdrant says of what it writes anew, which for a large
    segment takes hours."""

    def __init__(self, nodes: Sequence[Node], collection: str, seconds: float) -> None:
        self.client, self.collection, self.seconds = nodes[0].client, collection, seconds
        self.seen: object = None
        self.deadline = 0.0

    def is_over(self, seen: object) -> bool:
        """Waits a moment if it is not. Keeps the session that has the lock."""
        if (now := (seen, at_work(self.client, self.collection))) != self.seen:
            self.seen, self.deadline = now, time.monotonic() + self.seconds
        keep_session()
        if time.monotonic() >= self.deadline:
            return True
        time.sleep(POLL_SECONDS)
        return False


def _segments_of(node: Node) -> Iterator[Segment]:
    """Read as it comes: the driver's models of these answers fit one release of the server, and refuse those of another."""
    for collection in ask(node.address, "/telemetry", details_level=DETAILS)["collections"]["collections"]:
        for local in (shard.get("local") or {} for shard in collection.get("shards") or ()):
            for one in local.get("segments") or ():
                yield _segment(node.address.url, collection["id"], one["info"], busy=local.get("status") == "yellow")


def _segment(node: str, collection: str, info: dict[str, Any], *, busy: bool) -> Segment:
    return Segment(node, collection, info["uuid"], info["num_points"], info["num_deleted_vectors"], busy)
