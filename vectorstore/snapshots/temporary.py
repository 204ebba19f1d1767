"""Snapshots that a command makes to copy them elsewhere. They are deleted on the servers afterwards, also after a kill, by a later run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from findme.core.errors import UserFacingError
from vectorstore.snapshots.downloads import forget_snapshot, note_intention, note_snapshot
from vectorstore.snapshots.nodes import Node
from vectorstore.snapshots.repository import Snapshot, delete_on, snapshots_of
from vectorstore.snapshots.transfer import make
from vectorstore.snapshots.upload import run_with_open_session


@contextmanager
def temporary_snapshots(
    nodes: Sequence[Node], collection: str, folder: Path, *, seconds: float
) -> Iterator[tuple[tuple[Node, Snapshot], ...]]:
    """Yield a new snapshot of the collection for each node, and delete them at the end. The caller holds ``collection_lock``.

    ``folder`` is that of ``download_folder``: the snapshots are noted with it. Raises UserFacingError and StoreUnavailable.
    """
    made: list[tuple[Node, Snapshot]] = []
    try:
        made += ((node, _make(node, collection, folder, seconds)) for node in nodes)
        yield tuple(made)
    finally:
        for node, one in made:
            delete_on([node], [one])
            forget_snapshot(folder, one.node, one.name)


def _make(node: Node, collection: str, folder: Path, seconds: float) -> Snapshot:
    """Create a snapshot on the node. Raises UserFacingError if the node does not list it: another node has made it."""
    note_intention(folder, node, collection)
    name = run_with_open_session(lambda: make(node.address, collection, seconds=seconds))
    note_snapshot(folder, node.address.url, name)
    found = next((one for one in snapshots_of(node, collection) if one.name == name), None)
    if found is None:
        raise UserFacingError(
            f"Qdrant at {node.address} has made the snapshot {name!r}, but does not list it: a load balancer leads to several nodes. Name the"
            " own URL of every node with --node."
        )
    return found
