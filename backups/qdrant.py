"""The part of a backup that Qdrant has: a snapshot of the live collection of each node, and what the collection holds."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from qdrant_client import QdrantClient

from backups.destinations.destination import Destination
from backups.manifest import File, NodeSnapshot, QdrantPart
from backups.stored_files import PiecesReader, write_file
from backups.streams.keys import Recipient
from backups.streams.stored_file import CHUNK_BYTES
from findme.core.commands.progress import Report
from findme.core.errors import StoreUnavailable
from vectorstore.catalog.alias import live_collection
from vectorstore.catalog.lock import collection_lock
from vectorstore.catalog.ownership import check_owner
from vectorstore.consistency.checkpoint import compare_live_checkpoint
from vectorstore.consistency.version_digest import version_digest
from vectorstore.models import QueueEntry, StoreState, VectorCollection
from vectorstore.qdrant.connection import collection_name, is_embedded, qdrant
from vectorstore.snapshots.downloads import delete_downloads, download_folder
from vectorstore.snapshots.nodes import Node, every_node, server_version
from vectorstore.snapshots.repository import Snapshot
from vectorstore.snapshots.temporary import temporary_snapshots
from vectorstore.snapshots.transfer import chunks_of
from vectorstore.snapshots.upload import run_with_open_session

WITHOUT_SNAPSHOTS = "The embedded vector store has no snapshots. PostgreSQL has all of it."


@dataclass(frozen=True, slots=True)
class Servers:
    """The nodes to take snapshots of, and how many seconds each may take for one."""

    urls: tuple[str, ...]
    seconds: float


def reason_without_qdrant() -> str:
    """Return why a backup has no part of Qdrant, or an empty string."""
    return WITHOUT_SNAPSHOTS if is_embedded() else ""


def require_qdrant(servers: Servers) -> None:
    """Raise UserFacingError or StoreUnavailable if no snapshot can be taken: before the dump of PostgreSQL, which may take long."""
    with qdrant() as client:
        _live(client, servers)


def back_up_qdrant(destination: Destination, backup: str, recipients: Sequence[Recipient], servers: Servers, report: Report) -> QdrantPart:
    """Write the snapshots of the live collection to the backup. They are deleted on the servers.

    No other process changes the collections meanwhile. Workers continue to write points, so the numbers need not be those of the snapshots.
    Raise UserFacingError and StoreUnavailable.
    """
    with collection_lock(), qdrant() as client:
        delete_downloads()
        nodes, collection = _live(client, servers)
        queued_before, snapshot_at = QueueEntry.objects.count(), datetime.now(UTC)
        with download_folder(None) as folder, temporary_snapshots(nodes, collection, folder, seconds=servers.seconds) as made:
            files = tuple(
                NodeSnapshot(peer_id=node.peer_id, file=_copy(destination, backup, recipients, node, snapshot, report))
                for node, snapshot in made
            )
        # A snapshot that a killed process has begun is listed now at the latest.
        delete_downloads()
        found = version_digest(collection)
        row = VectorCollection.objects.filter(name=collection).first()
        checkpoint = StoreState.current().checkpoint or {}
        return QdrantPart(
            server_version=server_version(nodes[0]),
            alias=collection_name(),
            collection=collection,
            definition_hash="" if row is None else row.definition_hash,
            checkpoint=str(checkpoint.get("id", "")),
            snapshot_at=snapshot_at,
            points=found.points,
            highest_version=found.highest_version,
            digest=found.digest,
            queued_before=queued_before,
            queued_after=QueueEntry.objects.count(),
            nodes=files,
        )


def _live(client: QdrantClient, servers: Servers) -> tuple[Sequence[Node], str]:
    """Return the nodes and the live collection. Raise if the collection is not that of this database, or if a store was restored."""
    nodes, collection = every_node(client, servers.urls), live_collection(client)
    check_owner(client, collection)
    compare_live_checkpoint(client)
    return nodes, collection


def _copy(destination: Destination, backup: str, recipients: Sequence[Recipient], node: Node, snapshot: Snapshot, report: Report) -> File:
    """Copy the snapshot to the backup. The session that holds the lock stays open meanwhile."""

    def copy() -> File:
        with chunks_of(node.address, snapshot.collection, snapshot.name, size=snapshot.size) as chunks:
            source = io.BufferedReader(PiecesReader(chunks), CHUNK_BYTES)
            return write_file(destination, backup, f"qdrant-{node.peer_id}.snapshot", source, recipients, report)

    file = run_with_open_session(copy)
    if snapshot.sha256 and file.plain_sha256 != snapshot.sha256:
        raise StoreUnavailable(
            f"The SHA-256 of the downloaded snapshot {snapshot.name!r} is {file.plain_sha256}, but Qdrant reports {snapshot.sha256}. Run the command"
            " again."
        )
    return file
