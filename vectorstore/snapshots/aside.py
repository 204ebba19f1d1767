"""Make a collection for a restored database that does not serve yet. The live collection and the alias belong to another one, and are not changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qdrant_client import QdrantClient

from findme.core.commands.progress import Report, ignore_progress
from findme.core.errors import UserFacingError
from vectorstore.catalog import registry
from vectorstore.catalog.alias import collection_names
from vectorstore.catalog.cluster import require_all_nodes
from vectorstore.catalog.lock import collection_lock
from vectorstore.consistency.deletions import note_deletion_time
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.rebuild.acceptance import AcceptanceResult, accept
from vectorstore.rebuild.build import TIMEOUT_SECONDS, build
from vectorstore.retention.unique_vectors import DiscardLimit
from vectorstore.snapshots.nodes import every_node
from vectorstore.snapshots.repository import SECONDS
from vectorstore.snapshots.restore import UNVERIFIED, dropped_after_error, make_equal, read_files
from vectorstore.snapshots.upload import recover_shards


@dataclass(frozen=True, slots=True)
class Aside:
    """An accepted collection that is ready to become live. ``removed`` points of a snapshot were not those of the database, ``written`` are new."""

    acceptance: AcceptanceResult
    removed: int
    written: int


def next_name(client: QdrantClient) -> str:
    """Return the name that a database without collections gives to its next one: only the names in Qdrant count."""
    return f"{collection_name()}_v{max(map(registry.number_of, collection_names(client)), default=0) + 1}"


def upload_aside(
    paths: Sequence[Path], *, name: str, nodes: Sequence[str] = (), seconds: float = SECONDS, report: Report = ignore_progress
) -> None:
    """Recover the snapshot in ``paths`` into the new collection ``name``, which is what ``next_name`` has returned.

    The database is not used but for statements that keep its session, so this can run while it is restored. Raises UserFacingError if another process
    has created a collection since, and as ``vectorstore.snapshots.restore.restore`` does for the files and the nodes.
    """
    with qdrant() as client:
        _require_next(client, name)
        servers = every_node(client, nodes)
        recover_shards(client, servers, name, read_files(paths, report=report), seconds=seconds, report=report)


def make_aside(
    *,
    name: str,
    is_uploaded: bool,
    min_recall: float | None = None,
    limit: DiscardLimit | None = None,
    timeout: float = TIMEOUT_SECONDS,
    report: Report = ignore_progress,
) -> Aside:
    """Make the collection ``name`` from what ``upload_aside`` has recovered, or from PostgreSQL, and accept it as ``reindex_qdrant`` does.

    The registry must be empty, and no other process may write the database: no other collection is written. Raises UserFacingError if another process has
    created a collection since, and as ``vectorstore.snapshots.restore.restore`` and ``reindex`` do.
    """
    with collection_lock():
        if registry.rows().exists():
            raise _another_collection(name)
        if is_uploaded:
            registry.reserve(name, UNVERIFIED)
            with dropped_after_error(name):
                # The snapshot contains a write-ahead log, so it may also hold points that were deleted before it was made.
                note_deletion_time()
                made = make_equal(
                    name, limit=limit or DiscardLimit(), min_recall=min_recall, timeout=timeout, is_written=False, report=report
                )
            done = Aside(made.acceptance, made.removed, made.written)
        else:
            with qdrant() as client:
                _require_next(client, name)
                require_all_nodes(client)
            _, backfilled = build(timeout=timeout, report=report)
            done = Aside(accept(name, min_recall=min_recall, report=report), 0, backfilled.written)
        registry.prepare(done.acceptance.collection, None)
    return done


def _require_next(client: QdrantClient, name: str) -> None:
    if next_name(client) != name:
        raise _another_collection(name)


def _another_collection(name: str) -> UserFacingError:
    return UserFacingError(f"Another process has created another collection than {name!r}: nothing was changed. Run the command again.")
