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
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.rebuild.acceptance import AcceptanceResult, accept
from vectorstore.rebuild.build import TIMEOUT_SECONDS, build
from vectorstore.retention.unique_vectors import DiscardLimit
from vectorstore.snapshots.nodes import every_node
from vectorstore.snapshots.repository import SECONDS
from vectorstore.snapshots.restore import read_files, restore_into_new


@dataclass(frozen=True, slots=True)
class Aside:
    """An accepted collection that is ready to become live. ``removed`` points of a snapshot were not those of the database, ``written`` are new."""

    acceptance: AcceptanceResult
    removed: int
    written: int


def next_name(client: QdrantClient) -> str:
    """Return the name that a database without collections gives to its next one: only the names in Qdrant count."""
    return f"{collection_name()}_v{max(map(registry.number_of, collection_names(client)), default=0) + 1}"


def make_aside(
    paths: Sequence[Path],
    *,
    name: str,
    nodes: Sequence[str] = (),
    min_recall: float | None = None,
    limit: DiscardLimit | None = None,
    seconds: float = SECONDS,
    timeout: float = TIMEOUT_SECONDS,
    report: Report = ignore_progress,
) -> Aside:
    """Make the collection ``name`` from the snapshot in ``paths``, or from PostgreSQL without paths, and accept it as ``reindex_qdrant`` does.

    ``name`` is what ``next_name`` has returned. The registry must be empty: no other collection is written. Raises UserFacingError if another process has
    created a collection since, and as ``vectorstore.snapshots.restore.restore`` and ``reindex`` do.
    """
    with collection_lock():
        with qdrant() as client:
            if registry.rows().exists() or next_name(client) != name:
                raise UserFacingError(
                    f"Another process has created another collection than {name!r}: nothing was changed. Run the command again."
                )
        if paths:
            with qdrant() as client:
                servers = every_node(client, nodes)
            files = read_files(paths, report=report)
            made = restore_into_new(
                files,
                servers,
                limit=limit or DiscardLimit(),
                min_recall=min_recall,
                seconds=seconds,
                timeout=timeout,
                report=report,
            )
            done = Aside(made.acceptance, made.removed, made.written)
        else:
            with qdrant() as client:
                require_all_nodes(client)
            _, backfilled = build(timeout=timeout, report=report)
            done = Aside(accept(name, min_recall=min_recall, report=report), 0, backfilled.written)
        registry.prepare(done.acceptance.collection, None)
    return done
