"""Restore of a snapshot into a collection of its own, made what PostgreSQL says, proven, and put in the live one's place: ``restore``."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from django.contrib.postgres.functions import TransactionNow
from qdrant_client import QdrantClient

from findme.core.commands.progress import Report, ignore_progress
from findme.core.errors import UserFacingError, one_line
from findme.core.plurals import counted
from vectorstore.catalog import registry
from vectorstore.catalog.alias import AT_ONCE, live_collection, reconcile_alias, switch_alias
from vectorstore.catalog.cluster import require_all_nodes
from vectorstore.catalog.lock import collection_lock
from vectorstore.catalog.ownership import ADOPTED_AT, metadata_of
from vectorstore.consistency import preflight
from vectorstore.consistency.checkpoint import write_checkpoint
from vectorstore.consistency.versions import highest, last_allocated, raise_above
from vectorstore.models import VectorCollection
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.qdrant.errors import CollectionNotFound
from vectorstore.queue.deletions import note_removal
from vectorstore.rebuild.acceptance import AcceptanceResult, accept
from vectorstore.rebuild.backfill import backfill
from vectorstore.rebuild.build import next_name, wait_for_graphs
from vectorstore.rebuild.losses import require_no_losses
from vectorstore.rebuild.reindex import TIMEOUT_SECONDS
from vectorstore.retention.drop import drop, wait_for_active_leases
from vectorstore.retention.unique_vectors import DiscardLimit, UniqueVectors, version_floor
from vectorstore.schema.definition import DEFINITION
from vectorstore.snapshots.archive import Contents, read_set
from vectorstore.snapshots.nodes import Node, every_node, refuse_embedded
from vectorstore.snapshots.repository import SECONDS, checksum_file
from vectorstore.snapshots.stale_points import remove_stale_points
from vectorstore.snapshots.transfer import sha256_of
from vectorstore.snapshots.upgrade import upgrade_collection
from vectorstore.snapshots.upload import recover_shards

UNPROVEN = ""
"""The definition of a collection that has not been compared with PostgreSQL yet: a rebuild does not go on with it, but drops it."""

log = logging.getLogger("findme.vectorstore.restore")


@dataclass(frozen=True, slots=True)
class Restored:
    """The collection that is searched now, and the one that was (None where there was none), which is ``retained`` or among the ``dropped``. Of the snapshot's
    points ``removed`` are gone or were others, and ``written`` are new; ``found`` were right. ``unique_vectors`` points in the snapshot and in the
    collections that are due held the only copy of a vector."""

    alias: str
    collection: str
    replaced: str | None
    retained: bool
    dropped: tuple[str, ...]
    removed: int
    written: int
    found: int
    acceptance: AcceptanceResult
    unique_vectors: int = 0


def restore(
    paths: Sequence[Path],
    *,
    sha256: str = "",
    nodes: Sequence[str] = (),
    retain: timedelta = AT_ONCE,
    min_recall: float | None = None,
    discard_vectors: int = 0,
    seconds: float = SECONDS,
    timeout: float = TIMEOUT_SECONDS,
    report: Report = ignore_progress,
) -> Restored:
    """Restore the snapshot: PATHS are its file, or those of every node of a cluster. One at a time, beside searches and writes.

    Killed anywhere, the alias leads where it led, and the next run drops what was left. Raises UserFacingError with the alias where it was:
    for a file that is damaged, none or of other vectors, for a set that is not complete, and where the acceptance check refuses. Raises
    UniqueVectorsFound likewise, if the live collection, which is replaced, and the snapshot hold more unique vectors than DISCARD_VECTORS.
    """
    limit = DiscardLimit(discard_vectors)
    refuse_embedded("snapshots")
    contents = read_set(paths)
    if sha256 and len(paths) > 1:
        raise UserFacingError(
            f"--sha256 {sha256!r} is of one file, and {len(paths)} are named: leave it out, download has written each file's beside it."
        )
    sums = [_checked(path, sha256, report) for path in paths]
    with collection_lock():
        with qdrant() as client:
            servers = every_node(client, nodes)
            _prepare(client, limit)
            name = next_name(client)
            registry.reserve(name, UNPROVEN)
        try:
            with qdrant() as client:
                _recover(client, servers, name, list(zip(contents, sums, strict=True)), limit, seconds, report)
                log.info("%s is made of the snapshot, and written from now on.", name)
                removed = remove_stale_points(client, name, report)
                _note_as_proven(client, name)
            backfilled = backfill(name, timeout=timeout, report=report)
            log.info(
                "%s removed that PostgreSQL does not know so, %s written, %s right.",
                counted(removed, "point"),
                f"{backfilled.written:,}",
                counted(backfilled.found, "was", "were"),
            )
            accepted = _accepted(name, timeout, min_recall)
        except UserFacingError:
            with suppress(UserFacingError), qdrant() as client:  # the next run does it, where this cannot
                drop(client, [name])
            raise
        with qdrant() as client:
            replaced = switch_alias(client, name, retain=retain)
        log.info("%s leads to %s.", collection_name(), name)
        dropped = _drop_expired(limit)
        retained = registry.rows().filter(name=replaced, state=registry.State.RETAINED).exists()
    return Restored(
        collection_name(), name, replaced, retained, dropped, removed, backfilled.written, backfilled.found, accepted, limit.total
    )


def _accepted(name: str, timeout: float, min_recall: float | None) -> AcceptanceResult:
    """Raises UserFacingError with what is wrong, and with the next step, which is not a rebuild's: that would go on with what is there, and
    this is dropped."""
    try:
        wait_for_graphs(name, timeout)
        with qdrant() as client:
            return accept(client, name, min_recall=min_recall)
    except UserFacingError as error:
        what, not_moved, _ = str(error).partition(" alias was not moved.")
        if not not_moved:
            raise
        raise UserFacingError(
            f"{what}{not_moved} The restored collection is dropped: restore the snapshot again, with --timeout or --min-recall if it is that, or build the"
            " collection anew with manage.py reindex_qdrant."
        ) from error


def _drop_expired(limit: DiscardLimit) -> tuple[str, ...]:
    """The alias has moved: that something cannot be dropped now is no reason to say that it has not."""
    wait_for_active_leases()
    try:
        with qdrant() as client:
            return drop(client, registry.expired(), limit)
    except UserFacingError as error:
        log.info("Not everything that is due could be dropped: %s", one_line(error))
        return ()


def _checked(path: Path, sha256: str, report: Report) -> str:
    """The file's SHA-256, compared with what was asked for and with what download wrote beside it."""
    found = sha256_of(path, report)
    beside = checksum_file(path)
    written = beside.read_text(errors="replace").split() if beside.is_file() else []
    for expected in (sha256.lower(), *written[:1]):
        if expected and expected != found:
            raise UserFacingError(
                f"{str(path)!r} has the SHA-256 {found}, and is to have {expected[:64]!r}: it is damaged; fetch it again."
            )
    return found


def _prepare(client: QdrantClient, limit: DiscardLimit) -> None:
    """What others have left is brought to where the alias leads. There may be none: the server that is filled again may be an empty one."""
    require_all_nodes(client)
    require_no_losses(client, limit)
    with suppress(CollectionNotFound):
        live_collection(client)
        reconcile_alias(client)
        preflight.check_stores(client)  # after it: what was live before may be gone, which holds nobody up
    while (begun := registry.unfinished()) is not None:
        if not drop(client, [begun.name]):
            raise UserFacingError(
                f"{begun.name!r} was begun by a run before, and cannot be dropped: run manage.py init_qdrant, and then this again."
            )
    drop(client, registry.expired(), limit)


def _recover(
    client: QdrantClient,
    servers: Sequence[Node],
    name: str,
    files: Sequence[tuple[Contents, str]],
    limit: DiscardLimit,
    seconds: float,
    report: Report,
) -> None:
    """The snapshot in a new collection, which every worker writes from now on.

    Its row as building comes after its points: a worker that writes a collection that is not there marks it as failed. What changes in between is found
    when all is compared.
    """
    note_removal()  # what was removed before the snapshot was made is in it as well, in its log
    recover_shards(client, servers, name, files, seconds=seconds, report=report)
    floor = version_floor(
        client.get_collection(name).config.metadata
    )  # of whoever made the snapshot, before the metadata are this database's
    limit.count(name, UniqueVectors(floor), report)
    limit.require("the alias was not moved")
    upgrade_collection(client, name)
    raise_above(highest(client, name))
    if floor is None:
        client.update_collection(name, metadata={ADOPTED_AT: last_allocated()})
    registry.register(name, registry.State.BUILDING, UNPROVEN)
    write_checkpoint(client, name)


def _note_as_proven(client: QdrantClient, name: str) -> None:
    """From now on it is one like any that is built: what is missing is written, by a rebuild too, should this one be killed."""
    found = VectorCollection.objects.filter(name=name)
    found.update(definition_hash=DEFINITION.hash(), defined_at=TransactionNow())
    for row in found:
        client.update_collection(name, metadata=metadata_of(row))
