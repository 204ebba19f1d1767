"""Read Qdrant's report about the segments (the files with the points) of every server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from findme.core.errors import UserFacingError
from findme.core.waiting import StallTimeout
from vectorstore.catalog.lock import keep_session
from vectorstore.rebuild.build import running_optimizations
from vectorstore.snapshots.nodes import Node
from vectorstore.snapshots.transfer import ask

DETAILS = "10"
"""The highest level of detail of Qdrant's telemetry."""


Result = TypeVar("Result")


class SegmentsBusy(UserFacingError):
    """Qdrant was still rewriting segments when the timeout passed."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment of a shard on one server.

    The files contain the bytes of ``deleted`` points, which no request can reach, next to the existing ``points``. ``busy``: Qdrant is rewriting
    segments of the shard. For those it reports no deleted points, even if their bytes are copied into the new segment.
    """

    node: str
    collection: str
    id: str
    points: int
    deleted: int
    busy: bool

    @property
    def key(self) -> tuple[str, str]:
        """Identify the segment. The segment that replaces another one has a new id."""
        return self.node, self.id


def segments(nodes: Sequence[Node], collection: str) -> list[Segment]:
    """Return all segments of the collection. Raises StoreUnavailable."""
    return [one for node in nodes for one in _segments_of(node) if one.collection == collection]


def stable_segments(nodes: Sequence[Node], collection: str, seconds: float) -> list[Segment]:
    """Wait until Qdrant rewrites no segment of the collection, then return all segments.

    Raises SegmentsBusy if Qdrant makes no progress for ``seconds``. Qdrant reads the state of a shard and the content of its segments at
    different moments. So two consecutive polls must show the same segments.
    """
    before, stall = None, StallTimeout(seconds)
    for _ in stall.polls():
        found = segments(nodes, collection)
        now = {one.key for one in found}
        if now == before and not any(one.busy for one in found):
            return found
        before = now
        _observe(stall, now, nodes, collection)
    raise SegmentsBusy(
        f"Qdrant is still rewriting segments of {collection!r} after {seconds:g} s without progress. Wait until the collection is green, or increase"
        " --wait, then run the command again."
    )


def wait_while(poll: Callable[[], Result], nodes: Sequence[Node], collection: str, seconds: float) -> Result:
    """Call ``poll`` until its result is empty, or there is no progress for ``seconds``. Return its last result."""
    stall = StallTimeout(seconds)
    for _ in stall.polls():
        if not (result := poll()):
            break
        _observe(stall, result, nodes, collection)
    return result


def _observe(stall: StallTimeout, seen: object, nodes: Sequence[Node], collection: str) -> None:
    """Restart ``stall`` if ``seen`` or Qdrant's progress report has changed. Keep the session with the collection lock open.

    Qdrant reports its progress with the collection's segments. A large collection takes hours.
    """
    stall.observe((seen, running_optimizations(nodes[0].client, collection)))
    keep_session()


def _segments_of(node: Node) -> Iterator[Segment]:
    """Read the JSON directly: qdrant-client's models for telemetry fit one server release and reject the answers of another."""
    for collection in ask(node.address, "/telemetry", details_level=DETAILS)["collections"]["collections"]:
        for local in (shard.get("local") or {} for shard in collection.get("shards") or ()):
            for one in local.get("segments") or ():
                yield _segment(node.address.url, collection["id"], one["info"], busy=local.get("status") == "yellow")


def _segment(node: str, collection: str, info: dict[str, Any], *, busy: bool) -> Segment:
    return Segment(node, collection, info["uuid"], info["num_points"], info["num_deleted_vectors"], busy)
