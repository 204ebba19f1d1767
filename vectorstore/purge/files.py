"""Proof that replaced segments are gone from the disk: by the server's version, by the collection's age, or by a look into its storage folder.

Up to version 1.18, Qdrant deletes the files of a segment before the segment that replaces it answers. From 1.19 on it deletes them with a later flush
(after ``flush_interval_sec``, or when no request uses the segment any more) and reports that nowhere. A dropped collection's folder is deleted in the
background by every version.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from findme.core.errors import UserFacingError
from vectorstore.purge.segments import segments, wait_while
from vectorstore.purge.vacuum import VacuumResult
from vectorstore.snapshots.nodes import Node, version_of

DELETES_LATER = (1, 19)
"""The first version that deletes the files of a replaced segment later than it replaces the segment."""


def check_storage(nodes: Sequence[Node], collections: Sequence[str], storage: Sequence[Path]) -> None:
    """Raise UserFacingError unless the folders ``storage`` hold every segment of ``collections`` that the servers report."""
    for collection in collections:
        found = _segment_folders(storage, collection)
        for segment in segments(nodes, collection):
            if segment.id not in found:
                folders = ", ".join(f"--storage {str(folder)!r}" for folder in storage)
                raise UserFacingError(
                    f"{folders}: the segment {segment.id} of {collection!r} is not there, so nothing was done. Name the storage folder of each"
                    " server, where this account can read it."
                )


def prove(nodes: Sequence[Node], found: VacuumResult, storage: Sequence[Path], *, younger: bool, seconds: float) -> VacuumResult:
    """Return ``found`` with ``proven`` set, and with the number of folders of replaced segments that are still there in ``leftover``.

    A collection that is ``younger`` than the last erasure never held an erased point. With ``storage``, wait for Qdrant to delete the folders, as long as
    their number falls every ``seconds``. Raises StoreUnavailable.
    """
    if not storage:
        late = any(version_of(node) >= DELETES_LATER for node in nodes)
        return replace(found, proven=younger or not late)
    leftover = wait_while(lambda: _leftover(nodes, found.collection, storage), nodes, found.collection, seconds)
    return replace(found, proven=not leftover, leftover=len(leftover))


def wait_for_dropped(nodes: Sequence[Node], dropped: Sequence[str], storage: Sequence[Path], *, live: str, seconds: float) -> None:
    """Wait until the folders of ``dropped`` collections are gone from ``storage``. Raises UserFacingError if their number does not fall
    within ``seconds``.

    ``live`` is a collection that is there, whose work counts as progress.
    """
    if not dropped:
        return
    left = wait_while(lambda: _dropped_folders(storage, dropped), nodes, live, seconds)
    if left:
        raise UserFacingError(
            f"{left[0]} is still there: Qdrant deletes the folder of a dropped collection in the background. Look at its log, and run this again."
        )


def _leftover(nodes: Sequence[Node], collection: str, storage: Sequence[Path]) -> set[str]:
    """Return the folders under ``segments`` that no server reports as a segment of the collection.

    The servers are asked last: a segment that Qdrant makes in between is reported then, or the next look finds it reported.
    """
    there = _segment_folders(storage, collection)
    return there - {segment.id for segment in segments(nodes, collection)}


def _segment_folders(storage: Sequence[Path], collection: str) -> set[str]:
    return {path.name for folder in storage for path in (folder / "collections" / collection).glob("*/segments/*") if path.is_dir()}


def _dropped_folders(storage: Sequence[Path], dropped: Sequence[str]) -> list[Path]:
    """The collection's own folder, and what Qdrant has moved aside to delete: that folder's name has a random end, or belongs to other services."""
    folders = [
        path for folder in storage for path in (*(folder / "collections" / name for name in dropped), *(folder / ".deleted").glob("*"))
    ]
    return sorted(path for path in folders if path.exists())
