"""The files that hold the points: what Qdrant says of each of them, on every server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from findme.core.errors import UserFacingError
from findme.core.waiting import StallTimeout
from vectorstore.catalog.lock import keep_session
from vectorstore.rebuild.build import at_work
from vectorstore.snapshots.nodes import Node
from vectorstore.snapshots.transfer import ask

DETAILS = "10"
"""The most that Qdrant tells."""


Left = TypeVar("Left")


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
    before, stall = None, StallTimeout(seconds)
    for _ in stall.polls():
        found = segments(nodes, collection)
        now = {one.key for one in found}
        if now == before and not any(one.busy for one in found):
            return found
        before = now
        _observe(stall, now, nodes, collection)
    raise NotAtRest(
        f"Qdrant has been writing segments of {collection!r} anew for {seconds:g} s, and only then tells what is deleted in them: wait until"
        " the collection is green, or give it more time with --wait, and run it again."
    )


def wait_while(look: Callable[[], Left], nodes: Sequence[Node], collection: str, seconds: float) -> Left:
    """Call ``look`` until its result is empty, or there is no progress for ``seconds``. Return its last result."""
    stall = StallTimeout(seconds)
    for _ in stall.polls():
        if not (left := look()):
            break
        _observe(stall, left, nodes, collection)
    return left


def _observe(stall: StallTimeout, seen: object, nodes: Sequence[Node], collection: str) -> None:
    """Restart ``stall`` if ``seen`` or Qdrant's report of its work has changed. Keep the session that has the lock.

    Qdrant reports how far it has come with rewriting the collection's segments, which takes hours for a large one.
    """
    stall.observe((seen, at_work(nodes[0].client, collection)))
    keep_session()


def _segments_of(node: Node) -> Iterator[Segment]:
    """Read as it comes: the driver's models of these answers fit one release of the server, and refuse those of another."""
    for collection in ask(node.address, "/telemetry", details_level=DETAILS)["collections"]["collections"]:
        for local in (shard.get("local") or {} for shard in collection.get("shards") or ()):
            for one in local.get("segments") or ():
                yield _segment(node.address.url, collection["id"], one["info"], busy=local.get("status") == "yellow")


def _segment(node: str, collection: str, info: dict[str, Any], *, busy: bool) -> Segment:
    return Segment(node, collection, info["uuid"], info["num_points"], info["num_deleted_vectors"], busy)
