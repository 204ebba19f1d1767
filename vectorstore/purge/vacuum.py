"""Vacuum: have Qdrant rewrite every dirty segment (one with deleted points), and check the result."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from qdrant_client import QdrantClient

from findme.core.commands.progress import Report, ignore_progress
from findme.core.errors import UserFacingError
from vectorstore.catalog.saved_settings import Settings, change_settings, restore_settings
from vectorstore.purge.segments import Segment, segments, stable_segments, wait_while
from vectorstore.snapshots.nodes import Node

FULL_VACUUM: Settings = {"deleted_threshold": 0.0, "vacuum_min_vector_number": 100}
"""Make Qdrant rewrite every segment of at least 100 points that has a deleted one. Qdrant accepts no number below 100."""
SMALLEST_SEGMENT = 100
"""Minimum size of a segment that Qdrant vacuums, in points and deleted points."""
SMALL_COLLECTION = 20_000
"""Maximum number of points of a collection that is rewritten completely because of a smaller segment. It takes some seconds."""
SMALL_COLLECTION_SECONDS = 120.0


class VacuumStalled(UserFacingError):
    """Qdrant made no progress with the dirty segments until the timeout passed."""


@dataclass(frozen=True, slots=True)
class VacuumResult:
    """Result for one collection.

    - ``segments``: number of rewritten segments. ``deleted``: deleted points whose bytes were in them.
    - ``remaining``: deleted points in the current segments. ``small`` of them are in segments that Qdrant does not rewrite. The others were
      deleted during the run.
    - ``proven``: the files of replaced segments are known to be deleted. ``leftover``: number of their folders that still exist.
    """

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
    """Have Qdrant rewrite the currently dirty segments, and wait until they are gone.

    Points that workers delete meanwhile are not covered. Qdrant deletes the files of a segment when the segment that replaces it answers. The
    collection's settings are restored afterwards. Raises VacuumStalled if Qdrant makes no progress for ``seconds``.
    """
    dirty = dirty_segments(stable_segments(nodes, collection, seconds))
    try:
        large = [one for one in dirty if not is_small(one)]
        if large:
            change_settings(client, collection, FULL_VACUUM)
            _wait(nodes, collection, large, seconds, report)
        small = _not_replaced(nodes, collection, dirty)
        if small and client.count(collection, exact=False).count <= SMALL_COLLECTION:
            _vacuum_all(client, nodes, collection, small, seconds, report)
    finally:
        restore_settings(client, collection)
    current = stable_segments(nodes, collection, seconds)
    gone = [one for one in dirty if one.key not in {one.key for one in current}]
    return replace(not_vacuumed(collection, current), segments=len(gone), deleted=sum(one.deleted for one in gone))


def not_vacuumed(collection: str, current: Sequence[Segment]) -> VacuumResult:
    """Return a result that counts the deleted points in the ``current`` segments, and no rewritten segment."""
    dirty = dirty_segments(current)
    return VacuumResult(collection, 0, 0, sum(one.deleted for one in dirty), sum(one.deleted for one in dirty if is_small(one)))


def dirty_segments(current: Sequence[Segment]) -> list[Segment]:
    return [one for one in current if one.deleted]


def is_small(segment: Segment) -> bool:
    return segment.points + segment.deleted < SMALLEST_SEGMENT


def _vacuum_all(client: QdrantClient, nodes: Sequence[Node], collection: str, small: list[Segment], seconds: float, report: Report) -> None:
    """Rewrite every segment by switching ``on_disk_payload`` temporarily.

    Qdrant rewrites each segment whose payload storage differs from the collection's setting. If a server does not do it in time, the segments
    remain.
    """
    on_disk = bool(client.get_collection(collection).config.params.on_disk_payload)
    change_settings(client, collection, {"on_disk_payload": not on_disk})
    with suppress(VacuumStalled):
        _wait(nodes, collection, small, min(seconds, SMALL_COLLECTION_SECONDS), report)


def _wait(nodes: Sequence[Node], collection: str, dirty: Sequence[Segment], seconds: float, report: Report) -> None:
    def poll() -> list[Segment]:
        found = _not_replaced(nodes, collection, dirty)
        report(len(dirty) - len(found), len(dirty))
        return found

    remaining = wait_while(poll, nodes, collection, seconds)
    if remaining:
        raise VacuumStalled(
            f"Qdrant has not rewritten {len(remaining)} of {len(dirty)} segments of {collection!r} and made no progress for {seconds:g} s. Check its"
            " log and its disk, then run the command again."
        )


def _not_replaced(nodes: Sequence[Node], collection: str, dirty: Sequence[Segment]) -> list[Segment]:
    current = {one.key for one in segments(nodes, collection)}
    return [one for one in dirty if one.key in current]
