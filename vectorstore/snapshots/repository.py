"""Create, list, download and delete the snapshots that the servers store."""

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
from vectorstore.catalog.alias import live_collection, may_be_ours
from vectorstore.qdrant.connection import qdrant
from vectorstore.qdrant.errors import CollectionNotFound, translate_server_errors
from vectorstore.snapshots.nodes import Node, every_node, local_shards, nodes_that_answer, refuse_embedded
from vectorstore.snapshots.transfer import download, make

SECONDS = 3600.0
"""Timeout for a server to create or to restore a snapshot."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One snapshot file on one server.

    ``collection`` is "" for a snapshot of the whole server. ``node`` is the URL of the server. ``size`` is in bytes. ``made_at`` is in UTC, to
    the second. ``sha256`` is "" if the server reports none. ``shard`` is set for a snapshot of a single shard.
    """

    name: str
    collection: str
    node: str
    size: int
    made_at: datetime
    sha256: str
    shard: int | None = None


@dataclass(frozen=True, slots=True)
class DownloadResult:
    """A downloaded snapshot. ``compared`` is true if the server reported a SHA-256, which was equal."""

    path: Path
    size: int
    sha256: str
    compared: bool


@dataclass(frozen=True, slots=True)
class SnapshotList:
    """Snapshots of the nodes that answer. ``unavailable`` has one error message for each other node."""

    snapshots: tuple[Snapshot, ...]
    unavailable: tuple[str, ...]


def list_snapshots(*, nodes: Sequence[str] = ()) -> SnapshotList:
    """Return every snapshot of our collections, newest first.

    Raises StoreUnavailable, and UserFacingError for the embedded store.
    """
    refuse_embedded("snapshots")
    with qdrant() as client:
        servers, unavailable = nodes_that_answer(client, nodes)
        return SnapshotList(snapshots_on(client, servers), tuple(map(one_line, unavailable)))


def create(*, nodes: Sequence[str] = (), seconds: float = SECONDS, report: Report = ignore_progress) -> tuple[Snapshot, ...]:
    """Create a snapshot of the live collection on every server.

    If one server fails, the snapshots on the other servers are deleted.
    """
    refuse_embedded("snapshots")
    with qdrant() as client:
        servers, collection = every_node(client, nodes), live_collection(client)
        made: list[tuple[Node, str]] = []
        try:
            for node in servers:
                report(len(made), len(servers))
                made.append((node, make(node.address, collection, seconds=seconds)))
        # BaseException: an interrupted run (KeyboardInterrupt) must not leave an incomplete set either.
        except BaseException:
            for node, name in made:
                with suppress(UserFacingError), translate_server_errors(node.address):
                    node.client.delete_snapshot(collection, name, wait=True)
            raise
        names = {name for _, name in made}
        return tuple(one for one in snapshots_on(client, servers) if one.name in names)


def fetch(name: str, folder: Path, *, force: bool = False, nodes: Sequence[str] = (), report: Report = ignore_progress) -> DownloadResult:
    """Download the snapshot ``name`` into ``folder``, and write its SHA-256 to a second file.

    The second file has the suffix ``.sha256``. ``restore`` and ``sha256sum -c`` read it. The snapshot gets its final name after it is complete
    and its SHA-256 equals the server's. Nodes without the snapshot need not answer. Raises UserFacingError and StoreUnavailable.
    """
    refuse_embedded("snapshots")
    path = folder / Path(name).name
    require_writable(path, force=force)
    with qdrant() as client:
        servers, unavailable = nodes_that_answer(client, nodes)
        existing = snapshots_on(client, servers)
        if unavailable and name not in {one.name for one in existing}:
            raise unavailable[0]
        found = _find(name, existing)[0]
        node = _node_of(found, servers)
        with atomic_write(path, force=force) as file:
            sha256 = download(node.address, found.collection, name, file, size=found.size, report=report)
            if found.sha256 and sha256 != found.sha256:
                raise StoreUnavailable(
                    f"The SHA-256 of the downloaded snapshot {name!r} is {sha256}, but Qdrant reports {found.sha256}. Run the command again. If it"
                    " repeats, create another snapshot."
                )
            with atomic_write(checksum_file(path), force=True) as sha256_file:
                sha256_file.write(f"{sha256}  {path.name}\n".encode())
        return DownloadResult(path, found.size, sha256, bool(found.sha256))


def delete(names: Sequence[str], *, nodes: Sequence[str] = (), dry_run: bool = False) -> tuple[Snapshot, ...]:
    """Delete the snapshots ``names`` and check that they are gone. Return them.

    Raises UserFacingError, with nothing deleted, if a name does not exist.
    """
    refuse_embedded("snapshots")
    with qdrant() as client:
        servers = every_node(client, nodes)
        existing = snapshots_on(client, servers)
        to_delete = tuple(one for name in dict.fromkeys(names) for one in _find(name, existing))
        return to_delete if dry_run else delete_on(servers, to_delete)


def prune(keep: int, *, nodes: Sequence[str] = (), dry_run: bool = False) -> tuple[Snapshot, ...]:
    """Delete all but the newest ``keep`` snapshots of every server. Return the deleted ones."""
    refuse_embedded("snapshots")
    with qdrant() as client:
        servers = every_node(client, nodes)
        existing = snapshots_on(client, servers)
        to_delete = tuple(one for node in servers for one in [one for one in existing if one.node == node.address.url][keep:])
        return to_delete if dry_run else delete_on(servers, to_delete)


def snapshots_on(client: QdrantClient, nodes: Sequence[Node]) -> tuple[Snapshot, ...]:
    """Return the snapshots of our collections on ``nodes``, newest first.

    Two snapshots of the same second are in descending order of their names.
    """
    return _newest_first(one for node in nodes for name in _ours(client) for one in snapshots_of(node, name))


def shard_snapshots_on(client: QdrantClient, nodes: Sequence[Node]) -> tuple[Snapshot, ...]:
    """Return the snapshots of single shards of our collections, newest first. Only an operator makes them."""
    return _newest_first(one for node in nodes for name in _ours(client) for one in shard_snapshots_of(node, name))


def server_snapshots_on(nodes: Sequence[Node]) -> tuple[Snapshot, ...]:
    """Return the snapshots of whole servers, newest first.

    Only an operator makes them. They contain the collections of all services.
    """
    return _newest_first(one for node in nodes for one in _list_on(node, "", None))


def snapshots_of(node: Node, collection: str) -> list[Snapshot]:
    """Return the snapshots of one collection on one server, or an empty list if the collection was just dropped."""
    return _list_on(node, collection, None)


def shard_snapshots_of(node: Node, collection: str) -> list[Snapshot]:
    """Return the snapshots of each of the collection's shards on this server."""
    with suppress(CollectionNotFound):
        return [one for shard in sorted(local_shards(node, collection)) for one in _list_on(node, collection, shard)]
    return []


def delete_on(nodes: Sequence[Node], to_delete: Sequence[Snapshot]) -> tuple[Snapshot, ...]:
    """Delete each snapshot on its node. Raises UserFacingError if one still exists afterwards."""
    for one in to_delete:
        delete_one(_node_of(one, nodes), one)
    for one in to_delete:
        if one in _list_on(_node_of(one, nodes), one.collection, one.shard):
            raise UserFacingError(
                f"Qdrant at {one.node!r} confirmed the deletion of the snapshot {one.name!r}, but it still exists. Check Qdrant's log."
            )
    return tuple(to_delete)


def checksum_file(path: Path) -> Path:
    """Return the path of the file with the SHA-256 of the snapshot ``path``, in the same folder."""
    return path.with_name(f"{path.name}.sha256")


def delete_one(node: Node, one: Snapshot) -> None:
    with translate_server_errors(node.address):
        if one.shard is None:
            node.client.delete_snapshot(one.collection, one.name, wait=True)
        else:
            node.client.delete_shard_snapshot(one.collection, one.shard, one.name, wait=True)


def _ours(client: QdrantClient) -> list[str]:
    return [found.name for found in client.get_collections().collections if may_be_ours(found.name)]


def _list_on(node: Node, collection: str, shard: int | None) -> list[Snapshot]:
    """Return the snapshots of a collection, of one of its shards, or of the whole server (``collection`` is "")."""
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


def _find(name: str, existing: Sequence[Snapshot]) -> list[Snapshot]:
    """Return the snapshots with this name. Raises UserFacingError if there is none.

    There can be several: Qdrant also stores an uploaded snapshot, with its name, in the collection that it was restored into.
    """
    if found := [one for one in existing if one.name == name]:
        return found
    raise UserFacingError(f"There is no snapshot {name!r} of our collections. See manage.py qdrant_snapshot list.")


def _time(text: str | None) -> datetime:
    """Parse Qdrant's time, which is in UTC without an offset. Return the earliest possible time if it is unknown."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC) if text else datetime.min.replace(tzinfo=UTC)
