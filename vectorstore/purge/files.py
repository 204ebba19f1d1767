"""Check that replaced segments are gone from the disk.

The check uses the server's version, the age of the collection, or the server's storage folder.

Up to version 1.18, Qdrant deletes the files of a segment before the segment that replaces it answers. From 1.19 on it deletes them with a later flush
(after ``flush_interval_sec``, or when no request uses the segment any more) and does not report it. Every version deletes the folder of a dropped
collection in the background.
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
"""First version that deletes the files of a replaced segment some time after it replaced the segment."""


def check_storage(nodes: Sequence[Node], collections: Sequence[str], storage: Sequence[Path]) -> None:
    """Raise UserFacingError unless the ``storage`` folders contain every segment of ``collections`` that the servers report."""
    for collection in collections:
        found = _segment_folders(storage, collection)
        for segment in segments(nodes, collection):
            if segment.id not in found:
                folders = ", ".join(f"--storage {str(folder)!r}" for folder in storage)
                raise UserFacingError(
                    f"The segment {segment.id} of {collection!r} is not in {folders}: nothing was changed. Name the storage folder of each server,"
                    " readable by this account."
                )


def confirm_deletion(nodes: Sequence[Node], found: VacuumResult, storage: Sequence[Path], *, younger: bool, seconds: float) -> VacuumResult:
    """Return ``found`` with ``proven`` and ``leftover`` set.

    ``leftover`` is the number of folders of replaced segments that still exist. A collection that is ``younger`` than the last erasure never held
    an erased point. With ``storage``, wait for Qdrant to delete the folders, as long as their number falls within ``seconds``. Raises
    StoreUnavailable.
    """
    if not storage:
        late = any(version_of(node) >= DELETES_LATER for node in nodes)
        return replace(found, proven=younger or not late)
    leftover = wait_while(lambda: _leftover(nodes, found.collection, storage), nodes, found.collection, seconds)
    return replace(found, proven=not leftover, leftover=len(leftover))


def wait_for_dropped(nodes: Sequence[Node], dropped: Sequence[str], storage: Sequence[Path], *, live: str, seconds: float) -> None:
    """Wait until the folders of ``dropped`` collections are gone from ``storage``.

    Optimizer work on the existing collection ``live`` counts as progress too. Raises UserFacingError after ``seconds`` without progress.
    """
    if not dropped:
        return
    remaining = wait_while(lambda: _dropped_folders(storage, dropped), nodes, live, seconds)
    if remaining:
        raise UserFacingError(
            f"{remaining[0]} still exists: Qdrant deletes the folder of a dropped collection in the background. Check Qdrant's log, then run the command"
            " again."
        )


def _leftover(nodes: Sequence[Node], collection: str, storage: Sequence[Path]) -> set[str]:
    """Return the folders under ``segments`` that no server reports as a segment of the collection.

    The servers are queried last. A segment that Qdrant creates in between is then reported now, or at the next poll.
    """
    existing = _segment_folders(storage, collection)
    return existing - {segment.id for segment in segments(nodes, collection)}


def _segment_folders(storage: Sequence[Path], collection: str) -> set[str]:
    return {path.name for folder in storage for path in (folder / "collections" / collection).glob("*/segments/*") if path.is_dir()}


def _dropped_folders(storage: Sequence[Path], dropped: Sequence[str]) -> list[Path]:
    """Return the existing folders of ``dropped`` collections, and every folder in ``.deleted``.

    Qdrant moves a folder to ``.deleted``, under a name with a random suffix, before it deletes it. Folders of other services' collections can be
    there too.
    """
    folders = [
        path for folder in storage for path in (*(folder / "collections" / name for name in dropped), *(folder / ".deleted").glob("*"))
    ]
    return sorted(path for path in folders if path.exists())
