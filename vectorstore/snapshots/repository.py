"""The snapshots that the servers keep of our collections: made, listed, fetched, deleted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from qdrant_client import QdrantClient

from findme.core.commands.progress import Report, ignore_progress
from findme.core.errors import StoreUnavailable, UserFacingError, one_line
from findme.core.files import atomic_write, require_writable
from vectorstore.catalog.alias import is_ours, live_collection
from vectorstore.qdrant.connection import qdrant
from vectorstore.qdrant.errors import CollectionNotFound, translate_server_errors
from vectorstore.snapshots.nodes import Node, every_node, local_shards, nodes_that_answer, refuse_embedded
from vectorstore.snapshots.transfer import download, make

SECONDS = 3600.0
"""How long a server may take to make a snapshot, or to take one back."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One file of one server: of COLLECTION, SIZE bytes, made at (UTC, to the second). ``sha256`` is what the server says of it, "" where it says
    nothing; ``node`` is the URL of the server that has it. ``shard``: it is of this one only. ``collection`` is "" for one of the whole server."""

    name: str
    collection: str
    node: str
    size: int
    made_at: datetime
    sha256: str
    shard: int | None = None


@dataclass(frozen=True, slots=True)
class Fetched:
    """A snapshot in a file; ``compared`` where the server had told its SHA-256, which was the same."""

    path: Path
    size: int
    sha256: str
    compared: bool


@dataclass(frozen=True, slots=True)
class Listed:
    """``silent`` says what is wrong with the nodes that do not answer: of what they have nothing is known."""

    snapshots: tuple[Snapshot, ...]
    silent: tuple[str, ...]


def listed(*, nodes: Sequence[str] = ()) -> Listed:
    """Every snapshot of our collections, the newest first. Raises StoreUnavailable, UserFacingError for the embedded store."""
    refuse_embedded("snapshots")
    with qdrant() as client:
        servers, silent = nodes_that_answer(client, nodes)
        return Listed(snapshots_on(client, servers), tuple(map(one_line, silent)))


def create(*, nodes: Sequence[str] = (), seconds: float = SECONDS, report: Report = ignore_progress) -> tuple[Snapshot, ...]:
    """Have every server make one of the live collection. All or none: where one fails, those that were made are deleted again."""
    refuse_embedded("snapshots")
    with qdrant() as client:
        servers, collection = every_node(client, nodes), live_collection(client)
        made: list[tuple[Node, str]] = []
        try:
            for node in servers:
                report(len(made), len(servers))
                made.append((node, make(node.address, collection, seconds=seconds)))
        except BaseException:  # whoever interrupts it is not to be left with some of them either
            for node, name in made:
                with suppress(UserFacingError), translate_server_errors(node.address):
                    node.client.delete_snapshot(collection, name, wait=True)
            raise
        names = {name for _, name in made}
        return tuple(one for one in snapshots_on(client, servers) if one.name in names)


def fetch(name: str, folder: Path, *, force: bool = False, nodes: Sequence[str] = (), report: Report = ignore_progress) -> Fetched:
    """Fetch the snapshot NAME into FOLDER, and its SHA-256 into ``NAME.sha256`` beside it, for ``restore`` and for ``sha256sum -c``.

    The file has its name when it is whole and equal to what the server says of it. Nodes that do not have it need not answer. Raises
    UserFacingError and StoreUnavailable.
    """
    refuse_embedded("snapshots")
    path = folder / Path(name).name
    require_writable(path, force=force)
    with qdrant() as client:
        servers, silent = nodes_that_answer(client, nodes)
        there = snapshots_on(client, servers)
        if silent and name not in {one.name for one in there}:
            raise silent[0]
        found = _named(name, there)[0]
        node = _node_of(found, servers)
        with atomic_write(path, force=force) as file:
            sha256 = download(node.address, found.collection, name, file, size=found.size, report=report)
            if found.sha256 and sha256 != found.sha256:
                raise StoreUnavailable(
                    f"What came of the snapshot {name!r} has the SHA-256 {sha256}, and Qdrant says {found.sha256}: run it again, and make another if it"
                    " stays so."
                )
            with atomic_write(checksum_file(path), force=True) as beside:
                beside.write(f"{sha256}  {path.name}\n".encode())
        return Fetched(path, found.size, sha256, bool(found.sha256))


def delete(names: Sequence[str], *, nodes: Sequence[str] = (), dry_run: bool = False) -> tuple[Snapshot, ...]:
    """Delete snapshots, and see that they are gone. Raises UserFacingError, with nothing deleted, where there is none of a name."""
    refuse_embedded("snapshots")
    with qdrant() as client:
        servers = every_node(client, nodes)
        there = snapshots_on(client, servers)
        doomed = tuple(one for name in dict.fromkeys(names) for one in _named(name, there))
        return doomed if dry_run else delete_on(servers, doomed)


def prune(keep: int, *, nodes: Sequence[str] = (), dry_run: bool = False) -> tuple[Snapshot, ...]:
    """Delete all but the newest KEEP of every server; which those were."""
    refuse_embedded("snapshots")
    with qdrant() as client:
        servers = every_node(client, nodes)
        there = snapshots_on(client, servers)
        doomed = tuple(one for node in servers for one in [one for one in there if one.node == node.address.url][keep:])
        return doomed if dry_run else delete_on(servers, doomed)


def snapshots_on(client: QdrantClient, nodes: Sequence[Node]) -> tuple[Snapshot, ...]:
    """The newest first; of two of one second the one whose name comes later in the alphabet."""
    return _newest_first(one for node in nodes for name in _ours(client) for one in snapshots_of(node, name))


def shard_snapshots_on(client: QdrantClient, nodes: Sequence[Node]) -> tuple[Snapshot, ...]:
    """Those that somebody has made of single shards of ours, the newest first."""
    return _newest_first(one for node in nodes for name in _ours(client) for one in shard_snapshots_of(node, name))


def server_snapshots_on(nodes: Sequence[Node]) -> tuple[Snapshot, ...]:
    """Those that somebody has made of whole servers, with everybody's collections, the newest first."""
    return _newest_first(one for node in nodes for one in _listed(node, "", None))


def snapshots_of(node: Node, collection: str) -> list[Snapshot]:
    """Of one collection on one server; none where the collection has just gone."""
    return _listed(node, collection, None)


def shard_snapshots_of(node: Node, collection: str) -> list[Snapshot]:
    """Of each of the collection's shards that the server has."""
    with suppress(CollectionNotFound):
        return [one for shard in sorted(local_shards(node, collection)) for one in _listed(node, collection, shard)]
    return []


def delete_on(nodes: Sequence[Node], doomed: Sequence[Snapshot]) -> tuple[Snapshot, ...]:
    """Delete each where it is. Raises UserFacingError where one is still there."""
    for one in doomed:
        delete_one(_node_of(one, nodes), one)
    for one in doomed:
        if one in _listed(_node_of(one, nodes), one.collection, one.shard):
            raise UserFacingError(
                f"Qdrant at {one.node!r} says that the snapshot {one.name!r} is deleted, and it is still there: look at its log."
            )
    return tuple(doomed)


def checksum_file(path: Path) -> Path:
    """The file beside a snapshot that holds its SHA-256."""
    return path.with_name(f"{path.name}.sha256")


def delete_one(node: Node, one: Snapshot) -> None:
    with translate_server_errors(node.address):
        if one.shard is None:
            node.client.delete_snapshot(one.collection, one.name, wait=True)
        else:
            node.client.delete_shard_snapshot(one.collection, one.shard, one.name, wait=True)


def _ours(client: QdrantClient) -> list[str]:
    return [found.name for found in client.get_collections().collections if is_ours(found.name)]


def _listed(node: Node, collection: str, shard: int | None) -> list[Snapshot]:
    """Of a collection, of a shard of it, or of the whole server."""
    with suppress(CollectionNotFound), translate_server_errors(node.address):
        if not collection:
            found = node.client.list_full_snapshots()
        elif shard is None:
            found = node.client.list_snapshots(collection)
        else:
            found = node.client.list_shard_snapshots(collection, shard)
        url = node.address.url
        return [Snapshot(one.name, collection, url, one.size, _time(one.creation_time), one.checksum or "", shard) for one in found]
    return []


def _newest_first(found: Iterable[Snapshot]) -> tuple[Snapshot, ...]:
    return tuple(sorted(found, key=lambda one: (one.made_at, one.name), reverse=True))


def _node_of(one: Snapshot, nodes: Sequence[Node]) -> Node:
    return next(node for node in nodes if node.address.url == one.node)


def _named(name: str, there: Sequence[Snapshot]) -> list[Snapshot]:
    """Several where somebody has sent a snapshot into another collection: Qdrant keeps it there, under its name."""
    if found := [one for one in there if one.name == name]:
        return found
    raise UserFacingError(f"There is no snapshot {name!r} of our collections: see manage.py qdrant_snapshot list.")


def _time(text: str | None) -> datetime:
    """Qdrant tells UTC, without saying so. One of an unknown time is as old as can be."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC) if text else datetime.min.replace(tzinfo=UTC)
