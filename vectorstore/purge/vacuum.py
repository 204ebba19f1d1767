"""Vacuum: have Qdrant rewrite every dirty segment, which is one with deleted points, and check that it has."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from qdrant_client import QdrantClient

from findme.core.commands.progress import Report, ignore_progress
from findme.core.errors import UserFacingError
from vectorstore.purge.saved_settings import THOROUGH, change, put_back
from vectorstore.purge.segments import Segment, segments, segments_at_rest, wait_while
from vectorstore.snapshots.nodes import Node

SMALLEST = 100
"""Points and deleted points of a segment that Qdrant rewrites because of the deleted ones; a smaller one it leaves alone."""
FEW = 20_000
"""Points of a collection that is rewritten as a whole, in some seconds, because of such a small segment."""
FEW_SECONDS = 120.0


class VacuumStalled(UserFacingError):
    """Qdrant was given its time."""


@dataclass(frozen=True, slots=True)
class VacuumResult:
    """Of one collection: ``deleted`` points whose bytes were in ``segments`` that are gone now; ``remaining`` are deleted points in those
    that are there now, ``small`` of them in segments that Qdrant does not rewrite; the others were deleted meanwhile. ``proven``: the files
    of replaced segments are known to be deleted; ``leftover`` of their folders are known to be still there."""

    collection: str
    segments: int
    deleted: int
    remaining: int
    small: int = 0
    proven: bool = True
    leftover: int = 0


def vacuum(
    client: QdrantClient, nodes: Sequence[Node], collection: str, *, seconds: float, report: Report = ignore_progress
) -> VacuumResult:
    """Waits until the segments that hold deleted points now are gone, as long as Qdrant gets on with it every SECONDS. What others delete meanwhile is left.

    Qdrant deletes the files of a segment when the one that takes its place answers. The collection's settings are as before afterwards.
    """
    doomed = dirty_segments(segments_at_rest(nodes, collection, seconds))
    try:
        big = [one for one in doomed if not is_small(one)]
        if big:
            change(client, collection, THOROUGH)
            _wait(nodes, collection, big, seconds, report)
        small = _still_there(nodes, collection, doomed)
        if small and client.count(collection, exact=False).count <= FEW:
            _vacuum_all(client, nodes, collection, small, seconds, report)
    finally:
        put_back(client, collection)
    there = segments_at_rest(nodes, collection, seconds)
    gone = [one for one in doomed if one.key not in {one.key for one in there}]
    return replace(untouched(collection, there), segments=len(gone), deleted=sum(one.deleted for one in gone))


def untouched(collection: str, there: Sequence[Segment]) -> VacuumResult:
    """What is left where nothing was done, or nothing more is."""
    left = dirty_segments(there)
    return VacuumResult(collection, 0, 0, sum(one.deleted for one in left), sum(one.deleted for one in left if is_small(one)))


def dirty_segments(there: Sequence[Segment]) -> list[Segment]:
    """Those that hold deleted points."""
    return [one for one in there if one.deleted]


def is_small(segment: Segment) -> bool:
    return segment.points + segment.deleted < SMALLEST


def _vacuum_all(client: QdrantClient, nodes: Sequence[Node], collection: str, small: list[Segment], seconds: float, report: Report) -> None:
    """Qdrant writes every segment anew whose payload lies otherwise than the collection says: for a moment it says so. A server that does not is not
    waited for long, and the segments are left."""
    on_disk = bool(client.get_collection(collection).config.params.on_disk_payload)
    change(client, collection, {"on_disk_payload": not on_disk})
    with suppress(VacuumStalled):
        _wait(nodes, collection, small, min(seconds, FEW_SECONDS), report)


def _wait(nodes: Sequence[Node], collection: str, doomed: Sequence[Segment], seconds: float, report: Report) -> None:
    def look() -> list[Segment]:
        found = _still_there(nodes, collection, doomed)
        report(len(doomed) - len(found), len(doomed))
        return found

    left = wait_while(look, nodes, collection, seconds)
    if left:
        raise VacuumStalled(
            f"Qdrant has not rewritten {len(left)} of {len(doomed)} segments of {collection!r}, and has not got on with it for {seconds:g} s: look at"
            " its log and its disk, and run it again: it goes on."
        )


def _still_there(nodes: Sequence[Node], collection: str, doomed: Sequence[Segment]) -> list[Segment]:
    there = {one.key for one in segments(nodes, collection)}
    return [one for one in doomed if one.key in there]
