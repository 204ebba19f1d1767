"""Restore a snapshot into a new collection and make that collection live.

Before the alias moves, the new collection is made equal to PostgreSQL and must pass the acceptance check.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeAlias

from django.contrib.postgres.functions import TransactionNow
from qdrant_client import QdrantClient

from findme.core.commands.progress import Report, ignore_progress
from findme.core.errors import UserFacingError
from findme.core.plurals import counted
from vectorstore.catalog import registry
from vectorstore.catalog.alias import AT_ONCE
from vectorstore.catalog.cluster import require_all_nodes
from vectorstore.catalog.lock import collection_lock
from vectorstore.catalog.ownership import ADOPTED_AT, metadata_of
from vectorstore.consistency.checkpoint import write_checkpoint
from vectorstore.consistency.deletions import note_deletion_time
from vectorstore.consistency.versions import highest, last_allocated, raise_above
from vectorstore.models import ProfileEmbedding, VectorCollection
from vectorstore.qdrant.connection import qdrant
from vectorstore.qdrant.errors import CollectionNotFound
from vectorstore.rebuild.acceptance import AcceptanceResult, accept, accept_compared
from vectorstore.rebuild.build import TIMEOUT_SECONDS, complete, next_name, wait_for_graphs
from vectorstore.rebuild.promote import Promotion, promote, reconcile, require_no_losses
from vectorstore.retention.drop import drop
from vectorstore.retention.unique_vectors import DiscardLimit, UniqueVectors, version_floor
from vectorstore.schema.definition import DEFINITION
from vectorstore.snapshots.archive import Contents, read_set
from vectorstore.snapshots.nodes import Node, every_node, refuse_embedded
from vectorstore.snapshots.repository import SECONDS, checksum_file
from vectorstore.snapshots.stale_points import remove_stale_points
from vectorstore.snapshots.transfer import sha256_of
from vectorstore.snapshots.upgrade import upgrade_collection
from vectorstore.snapshots.upload import recover_shards

UNVERIFIED = ""
"""Definition hash of a collection that was not compared with PostgreSQL yet. A rebuild does not resume it but drops it."""

NEXT_STEP = (
    "The restored collection was dropped. Restore again, with another --timeout or --min-recall if that was the cause, or run manage.py"
    " reindex_qdrant."
)
"""After a failed check. A rebuild resumes its collection, and a restore drops it."""

log = logging.getLogger("findme.vectorstore.restore")


Files: TypeAlias = Sequence[tuple[Contents, str]]
"""The files of one snapshot, with their SHA-256."""


@dataclass(frozen=True, slots=True)
class RestoredCollection:
    """A collection that is not live yet. ``removed`` points of the snapshot differed from PostgreSQL, ``written`` are new, ``found`` were equal."""

    acceptance: AcceptanceResult
    removed: int
    written: int
    found: int


@dataclass(frozen=True)
class RestoreResult(Promotion):
    """The promotion of a restored collection.

    ``removed`` points of the snapshot were deleted because PostgreSQL differs, ``written`` points were added, and ``found`` points were equal.
    ``unique_vectors`` counts the points in the snapshot and in the expired collections that held the only copy of a vector.
    """

    removed: int
    written: int
    found: int
    unique_vectors: int


def restore(
    paths: Sequence[Path],
    *,
    sha256: str = "",
    nodes: Sequence[str] = (),
    retain: timedelta = AT_ONCE,
    min_recall: float | None = None,
    limit: DiscardLimit | None = None,
    seconds: float = SECONDS,
    timeout: float = TIMEOUT_SECONDS,
    report: Report = ignore_progress,
) -> RestoreResult:
    """Restore the snapshot in ``paths``: one file, or the files of every node of a cluster.

    Only one restore runs at a time. Searches and writes continue. If the process is killed, the alias does not move, and the next run drops the
    unfinished collection. Raises UserFacingError, without moving the alias, for a file that is damaged, is not a snapshot or has other vectors, for
    an incomplete set, and if the acceptance check fails. Raises UniqueVectorsFound, also without moving the alias, if the live collection and
    the snapshot hold more unique vectors than the ``limit`` allows.
    """
    limit = limit or DiscardLimit()
    files = read_files(paths, sha256=sha256, report=report)
    with collection_lock():
        with qdrant() as client:
            servers = every_node(client, nodes)
            _prepare(client, limit)
        made = restore_into_new(files, servers, limit=limit, min_recall=min_recall, seconds=seconds, timeout=timeout, report=report)
        done = promote(made.acceptance, retain=retain, limit=limit)
    return RestoreResult(**vars(done), removed=made.removed, written=made.written, found=made.found, unique_vectors=limit.total)


def read_files(paths: Sequence[Path], *, sha256: str = "", report: Report = ignore_progress) -> Files:
    """Return the contents and the checksum of each file of one snapshot. Raises UserFacingError as ``restore`` does for them."""
    refuse_embedded("snapshots")
    contents = read_set(paths)
    if sha256 and len(paths) > 1:
        raise UserFacingError(
            f"--sha256 {sha256!r} is for one file, but {len(paths)} are named. Omit it: download has written a .sha256 file for each."
        )
    return [(one, _verify_sha256(path, sha256, report)) for one, path in zip(contents, paths, strict=True)]


def restore_into_new(
    files: Files,
    servers: Sequence[Node],
    *,
    limit: DiscardLimit,
    min_recall: float | None,
    seconds: float,
    timeout: float,
    report: Report,
) -> RestoredCollection:
    """Restore the snapshot into a new collection that is equal to PostgreSQL and accepted. The alias does not move. Only under ``collection_lock``.

    The row in state building is added after the points: a worker that writes to a missing collection marks it as failed. The later comparison
    with PostgreSQL finds what changes in between. The collection is dropped after an error. Raises as ``restore`` does.
    """
    with qdrant() as client:
        name = next_name(client)
        registry.reserve(name, UNVERIFIED)
    with dropped_after_error(name):
        # The snapshot contains a write-ahead log, so it may also hold points that were deleted before it was made.
        note_deletion_time()
        with qdrant() as client:
            recover_shards(client, servers, name, files, seconds=seconds, report=report)
        return make_equal(name, limit=limit, min_recall=min_recall, timeout=timeout, is_written=True, report=report)


@contextmanager
def dropped_after_error(name: str) -> Iterator[None]:
    """Drop the collection after a UserFacingError in the block. If that fails, the next run drops it."""
    try:
        yield
    except UserFacingError as error:
        with suppress(UserFacingError), qdrant() as client:
            drop(client, [name])
        if isinstance(error, registry.AliasNotMoved):
            raise registry.AliasNotMoved(error.problem, NEXT_STEP) from error
        raise


def make_equal(
    name: str, *, limit: DiscardLimit, min_recall: float | None, timeout: float, is_written: bool, report: Report
) -> RestoredCollection:
    """Make the recovered collection equal to PostgreSQL, and accept it.

    All points are read. If each is equal and ``is_written`` is false, which means that no worker writes the database or the collection, this is the proof
    already. Otherwise the collection is compared again, after the changes. Raises as ``restore`` does.
    """
    with qdrant() as client:
        # Read the floor of the database that made the snapshot, before the metadata become this database's.
        floor = version_floor(client.get_collection(name).config.metadata)

        def count_unique_vectors() -> None:
            limit.count(name, UniqueVectors(floor), report)
            limit.require("the alias was not moved")

        if is_written:
            count_unique_vectors()
        _register(client, name, floor)
        log.info("%s was restored from the snapshot.%s", name, " Workers write it from now on." if is_written else "")
        # A point that is equal to PostgreSQL has no unique vector, and only a worker could overwrite another one before it is counted.
        stale = remove_stale_points(client, name, report, before_deletion=(lambda: None) if is_written else count_unique_vectors)
        _store_definition(client, name)
    log.info("%s deleted.", counted(stale.removed, "point that differed from PostgreSQL was", "points that differed from PostgreSQL were"))
    if not is_written and not stale.different and stale.equal == ProfileEmbedding.objects.projectable().count():
        wait_for_graphs(name, timeout)
        return RestoredCollection(accept_compared(name, stale.equal, min_recall=min_recall), 0, 0, stale.equal)
    backfilled = complete(name, timeout=timeout, report=report)
    accepted = accept(name, min_recall=min_recall, report=report)
    return RestoredCollection(accepted, stale.removed, backfilled.written, backfilled.found)


def _verify_sha256(path: Path, sha256: str, report: Report) -> str:
    """Return the file's SHA-256. Raises UserFacingError if it differs from ``sha256`` or from the ``.sha256`` file that download wrote."""
    found = sha256_of(path, report)
    sha256_file = checksum_file(path)
    written = sha256_file.read_text(errors="replace").split() if sha256_file.is_file() else []
    for expected in (sha256.lower(), *written[:1]):
        if expected and expected != found:
            raise UserFacingError(
                f"{str(path)!r} is damaged: its SHA-256 is {found} instead of {expected[:64]!r}. Download the snapshot again."
            )
    return found


def _prepare(client: QdrantClient, limit: DiscardLimit) -> None:
    """Finish or drop what earlier runs left unfinished.

    There may be no live collection: a restore also fills an empty server.
    """
    require_all_nodes(client)
    require_no_losses(client, limit)
    with suppress(CollectionNotFound):
        reconcile(client)
    while (begun := registry.unfinished()) is not None:
        if not drop(client, [begun.name]):
            raise UserFacingError(
                f"{begun.name!r} is from an unfinished run and cannot be dropped. Run manage.py init_qdrant, then restore again."
            )
    drop(client, registry.expired(), limit)


def _register(client: QdrantClient, name: str, floor: int | None) -> None:
    """Register the recovered collection, so that every worker writes to it. ``floor`` is that of the database that made the snapshot."""
    upgrade_collection(client, name)
    raise_above(highest(client, name))
    if floor is None:
        client.update_collection(name, metadata={ADOPTED_AT: last_allocated()})
    registry.register(name, registry.State.BUILDING, UNVERIFIED)
    write_checkpoint(client, name)


def _store_definition(client: QdrantClient, name: str) -> None:
    """Store the definition hash in the registry and the metadata, as for any building collection.

    If this run is killed, a rebuild can then resume the collection and write the missing points.
    """
    found = VectorCollection.objects.filter(name=name)
    found.update(definition_hash=DEFINITION.hash(), defined_at=TransactionNow())
    for row in found:
        client.update_collection(name, metadata=metadata_of(row))
