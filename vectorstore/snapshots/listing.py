"""The snapshots that the servers keep of our collections: made, listed, fetched, deleted."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from qdrant_client import QdrantClient

from findme.console.errors import NotDone, StoreUnavailable
from findme.console.progress import Report, unreported
from privacy.whole_file import require_writable, whole_file
from vectorstore.collection import is_ours, live_collection
from vectorstore.connection import qdrant
from vectorstore.errors import CollectionMissing, server_errors_told
from vectorstore.snapshots.nodes import Node, every_node, refuse_embedded
from vectorstore.snapshots.transfer import download, make

SECONDS = 3600.0
"""How long a server may take to make a snapshot, or to take one back."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One file of one server: of COLLECTION, SIZE bytes, made at (UTC, to the second). ``sha256`` is what the server says of it, "" where it says
    nothing; ``node`` is the URL of the server that has it."""

    name: str
    collection: str
    node: str
    size: int
    made_at: datetime
    sha256: str


@dataclass(frozen=True, slots=True)
class Fetched:
    """A snapshot in a file; ``compared`` where the server had told its SHA-256, which was the same."""

    path: Path
    size: int
    sha256: str
    compared: bool


def listed(*, nodes: Sequence[str] = ()) -> tuple[Snapshot, ...]:
    """Every snapshot of our collections, the newest first. Raises StoreUnavailable, NotDone for the embedded store."""
    refuse_embedded("snapshots")
    with qdrant() as client:
        return snapshots_on(client, every_node(client, nodes))


def create(*, nodes: Sequence[str] = (), seconds: float = SECONDS, report: Report = unreported) -> tuple[Snapshot, ...]:
    """Have every server make one of the live collection. All or none: where one fails, those that were made are deleted again."""
    refuse_embedded("snapshots")
    with qdrant() as client:
        servers, collection = every_node(client, nodes), live_collection(client)
        made: list[tuple[Node, str]] = []
        try:
            for node in servers:
                report(len(made), len(servers))
                made.append((node, make(node.address, collection, seconds=seconds)))
        except NotDone:
            for node, name in made:
                with suppress(NotDone), server_errors_told(node.address):
                    node.client.delete_snapshot(collection, name, wait=True)
            raise
        names = {name for _, name in made}
        return tuple(one for one in snapshots_on(client, servers) if one.name in names)


def fetch(name: str, folder: Path, *, force: bool = False, nodes: Sequence[str] = (), report: Report = unreported) -> Fetched:
    """Fetch the snapshot NAME into FOLDER, and its SHA-256 into ``NAME.sha256`` beside it, for ``restore`` and for ``sha256sum -c``.

    The file has its name when it is whole and equal to what the server says of it. Raises NotDone and StoreUnavailable.
    """
    refuse_embedded("snapshots")
    path = folder / Path(name).name
    require_writable(path, force=force)
    with qdrant() as client:
        servers = every_node(client, nodes)
        found = _named(name, snapshots_on(client, servers))[0]
        node = next(node for node in servers if node.address.url == found.node)
        with whole_file(path, force=force) as file:
            sha256 = download(node.address, found.collection, name, file, size=found.size, report=report)
            if found.sha256 and sha256 != found.sha256:
                raise StoreUnavailable(
                    f"What came of the snapshot {name!r} has the SHA-256 {sha256}, and Qdrant says {found.sha256}: run it again, and make another if it"
                    " stays so."
                )
            with whole_file(checksum_file(path), force=True) as beside:
                beside.write(f"{sha256}  {path.name}\n".encode())
        return Fetched(path, found.size, sha256, bool(found.sha256))


def delete(names: Sequence[str], *, nodes: Sequence[str] = (), dry_run: bool = False) -> tuple[Snapshot, ...]:
    """Delete snapshots, and see that they are gone. Raises NotDone, with nothing deleted, where there is none of a name."""
    refuse_embedded("snapshots")
    with qdrant() as client:
        servers = every_node(client, nodes)
        there = snapshots_on(client, servers)
        doomed = tuple(one for name in dict.fromkeys(names) for one in _named(name, there))
        return doomed if dry_run else delete_on(client, servers, doomed)


def prune(keep: int, *, nodes: Sequence[str] = (), dry_run: bool = False) -> tuple[Snapshot, ...]:
    """Delete all but the newest KEEP of every server; which those were."""
    refuse_embedded("snapshots")
    with qdrant() as client:
        servers = every_node(client, nodes)
        there = snapshots_on(client, servers)
        doomed = tuple(one for node in servers for one in [one for one in there if one.node == node.address.url][keep:])
        return doomed if dry_run else delete_on(client, servers, doomed)


def snapshots_on(client: QdrantClient, nodes: Sequence[Node]) -> tuple[Snapshot, ...]:
    """The newest first; of two of one second the one whose name comes later in the alphabet."""
    names = [found.name for found in client.get_collections().collections if is_ours(found.name)]
    found = [one for node in nodes for name in names for one in snapshots_of(node, name)]
    return tuple(sorted(found, key=lambda one: (one.made_at, one.name), reverse=True))


def snapshots_of(node: Node, collection: str) -> list[Snapshot]:
    """Of one collection on one server; none where the collection has just gone."""
    with suppress(CollectionMissing), server_errors_told(node.address):
        return [
            Snapshot(one.name, collection, node.address.url, one.size, _time(one.creation_time), one.checksum or "")
            for one in node.client.list_snapshots(collection)
        ]
    return []


def delete_on(client: QdrantClient, nodes: Sequence[Node], doomed: Sequence[Snapshot]) -> tuple[Snapshot, ...]:
    """Delete each where it is. Raises NotDone where one is still there."""
    for one in doomed:
        delete_one(next(node for node in nodes if node.address.url == one.node), one)
    left = set(doomed) & set(snapshots_on(client, nodes))
    for one in left:
        raise NotDone(f"Qdrant at {one.node!r} says that the snapshot {one.name!r} is deleted, and it is still there: look at its log.")
    return tuple(doomed)


def checksum_file(path: Path) -> Path:
    """The file beside a snapshot that holds its SHA-256."""
    return path.with_name(f"{path.name}.sha256")


def delete_one(node: Node, one: Snapshot) -> None:
    with server_errors_told(node.address):
        node.client.delete_snapshot(one.collection, one.name, wait=True)


def _named(name: str, there: Sequence[Snapshot]) -> list[Snapshot]:
    """Several where somebody has sent a snapshot into another collection: Qdrant keeps it there, under its name."""
    if found := [one for one in there if one.name == name]:
        return found
    raise NotDone(f"There is no snapshot {name!r} of our collections: see manage.py qdrant_snapshot list.")


def _time(text: str | None) -> datetime:
    """Qdrant tells UTC, without saying so. One of an unknown time is as old as can be."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC) if text else datetime.min.replace(tzinfo=UTC)
