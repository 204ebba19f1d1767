"""Purge erased points from the server's files, and report what remains. Implements ``purge_qdrant``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from qdrant_client import QdrantClient

from findme.core.commands.progress import Report, ignore_progress
from findme.core.db.clock import database_clock
from findme.core.errors import UserFacingError
from privacy.actions.purging import note_purge
from vectorstore.catalog import registry
from vectorstore.catalog.alias import collection_names, live_collection, may_be_ours, reconcile_alias
from vectorstore.catalog.cluster import require_all_nodes
from vectorstore.catalog.lock import collection_lock
from vectorstore.catalog.saved_settings import restore_settings, saved_settings
from vectorstore.consistency import preflight
from vectorstore.models import QueueEntry, SyncLease
from vectorstore.purge.files import check_storage, confirm_deletion, wait_for_dropped
from vectorstore.purge.segments import stable_segments
from vectorstore.purge.stale_snapshots import (
    Holds,
    StaleSnapshot,
    delete_stale_snapshots,
    find_stale_snapshots,
    logs_with_removed,
    snapshots_of_dropped_collections,
)
from vectorstore.purge.vacuum import VacuumResult, not_vacuumed, vacuum
from vectorstore.qdrant.connection import qdrant
from vectorstore.rebuild.reindex import reindex
from vectorstore.retention.drop import count_losses, drop, drop_all_but_live
from vectorstore.retention.unique_vectors import DiscardLimit
from vectorstore.snapshots.downloads import Download, delete_downloads, downloads
from vectorstore.snapshots.nodes import Node, every_node, refuse_embedded

SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class PurgeResult:
    """What the purge did, and what remains.

    - ``dry_run``: nothing was done. What is reported as deleted or dropped would have been.
    - ``collections``: rewritten segments and remaining deleted points of each collection.
    - ``stale_snapshots``: snapshots that may hold erased points, deleted or not.
    - ``logs``: collections whose write-ahead log may hold erased points.
    - ``dropped``: collections that were dropped, with their logs.
    - ``unknown``: collections with our names but without a registry row. They are not changed.
    - ``pending``: users who wait for a write or a deletion. Deleted users among them are not purged yet.
    - ``unique_vectors``: points in the dropped collections that held the only copy of a vector.
    - ``downloads``: folders with a snapshot that a killed adoption has downloaded, on other machines, or on this one in a dry run.
    """

    dry_run: bool
    collections: tuple[VacuumResult, ...]
    stale_snapshots: tuple[StaleSnapshot, ...]
    logs: tuple[str, ...]
    dropped: tuple[str, ...]
    unknown: tuple[str, ...]
    pending: int
    unique_vectors: int = 0
    downloads: tuple[Download, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether no erased data may remain anywhere."""
        return self.has_no_bytes and self.has_no_snapshots

    @property
    def has_no_bytes(self) -> bool:
        """Whether no erased data may remain in a collection."""
        return not (self.logs or self.unknown or self.pending or any(one.remaining or not one.proven for one in self.collections))

    @property
    def has_no_snapshots(self) -> bool:
        """Whether no erased data may remain in a snapshot."""
        return not (self.downloads or any(self.dry_run or not one.deleted for one in self.stale_snapshots))


def purge(
    *,
    dry_run: bool = False,
    snapshots: bool = False,
    log: bool = False,
    drop_retained: bool = False,
    discard_vectors: int = 0,
    nodes: Sequence[str] = (),
    storage: Sequence[Path] = (),
    seconds: float = SECONDS,
    report: Report = ignore_progress,
) -> PurgeResult:
    """Purge erased points from the server's files, and return what was done and what remains.

    Only one purge runs at a time. Searches and writes continue. If the process is killed, the next run continues and restores the settings that
    this one changed. With ``log``, the live collection is rebuilt and the old one dropped. With ``drop_retained``, the retained ones are dropped.
    ``storage`` are the storage folders of all servers, to check there that Qdrant has deleted the files of replaced segments and dropped
    collections.

    Raises UserFacingError, with nothing changed, if ``log`` needs a retained collection dropped, if ``log`` is given and a cluster node is
    unavailable (no collection could be built), and if more than ``discard_vectors`` unique vectors would be lost.
    """
    limit, began_at = DiscardLimit(discard_vectors), database_clock()
    refuse_embedded("segments, logs and snapshots that could be purged")
    with collection_lock(), qdrant() as client:
        servers = every_node(client, nodes)
        if not dry_run:
            # First, because a killed adoption may leave no live collection.
            delete_downloads()
        live_collection(client)
        reconcile_alias(client)
        _refuse_retained(log=log, drop_retained=drop_retained)
        if log:
            require_all_nodes(client)
        if storage:
            check_storage(servers, registry.deletion_targets(), storage)
        _count_losses(client, limit, log=log, drop_retained=drop_retained, dry_run=dry_run)
        preflight.check_stores(client)
        if dry_run:
            remaining = tuple(not_vacuumed(one, stable_segments(servers, one, seconds)) for one in registry.deletion_targets())
            to_delete, others = _select(find_stale_snapshots(client, servers), snapshots=snapshots, log=log)
            found = (*(replace(one, deleted=True) for one in to_delete), *others)
            return _result(client, remaining, found, _to_be_dropped(log=log, drop_retained=drop_retained), limit, dry_run=True)
        for collection in saved_settings():
            restore_settings(client, collection)
        dropped = drop_all_but_live(client, limit=limit) if log or drop_retained else drop(client, registry.expired(), limit)
        if log:
            dropped += reindex(timeout=seconds, limit=limit, report=report).dropped
        vacuumed = [vacuum(client, servers, one, seconds=seconds, report=report) for one in registry.deletion_targets()]
        if storage:
            wait_for_dropped(servers, dropped, storage, live=vacuumed[0].collection, seconds=seconds)
        with_removed = logs_with_removed([one.collection for one in vacuumed])
        confirmed = tuple(
            confirm_deletion(servers, one, storage, younger=one.collection not in with_removed, seconds=seconds) for one in vacuumed
        )
        result = _result(client, confirmed, _delete_stale_snapshots(client, servers, snapshots=snapshots, log=log), dropped, limit)
        note_purge(began_at, bytes_gone=result.has_no_bytes, snapshots_gone=result.has_no_snapshots)
        return result


def _refuse_retained(*, log: bool, drop_retained: bool) -> None:
    retained = registry.last_retained()
    if log and retained is not None and not drop_retained:
        raise UserFacingError(
            f"{retained.name!r} is retained and has its own write-ahead log: nothing was changed. Add --drop-retained (reindex_qdrant --rollback is then"
            " impossible), or wait until its retention ends."
        )


def _count_losses(client: QdrantClient, limit: DiscardLimit, *, log: bool, drop_retained: bool, dry_run: bool) -> None:
    """Count the unique vectors that would be lost. Raises UniqueVectorsFound if there are too many, except in a dry run."""
    count_losses(client, _to_be_dropped(log=log, drop_retained=drop_retained), limit)
    if not dry_run:
        limit.require()


def _to_be_dropped(*, log: bool, drop_retained: bool) -> tuple[str, ...]:
    others = registry.all_but_live() if log or drop_retained else registry.expired()
    return (*others, *(name for name in [registry.live()] if log and name is not None))


def _delete_stale_snapshots(client: QdrantClient, nodes: Sequence[Node], *, snapshots: bool, log: bool) -> tuple[StaleSnapshot, ...]:
    to_delete, others = _select(find_stale_snapshots(client, nodes), snapshots=snapshots, log=log)
    return (*delete_stale_snapshots(nodes, to_delete), *others, *snapshots_of_dropped_collections(client, nodes, delete=snapshots))


def _select(found: Sequence[StaleSnapshot], *, snapshots: bool, log: bool) -> tuple[list[StaleSnapshot], list[StaleSnapshot]]:
    """Return the snapshots to delete, and the others.

    A snapshot that may only hold the log is deleted only together with the log. A snapshot of a whole server is never deleted, because it also
    belongs to other services.
    """
    to_delete = [one for one in found if snapshots and one.ours and (log or one.holds is Holds.POINTS)]
    return to_delete, [one for one in found if one not in to_delete]


def _result(
    client: QdrantClient,
    collections: tuple[VacuumResult, ...],
    found: tuple[StaleSnapshot, ...],
    dropped: tuple[str, ...],
    limit: DiscardLimit,
    *,
    dry_run: bool = False,
) -> PurgeResult:
    known = set(registry.rows().values_list("name", flat=True))
    unknown = sorted(one for one in collection_names(client) - known if may_be_ours(one))
    logs = logs_with_removed([one.collection for one in collections])
    pending = QueueEntry.objects.values("user_id").union(SyncLease.objects.values("user_id")).count()
    return PurgeResult(dry_run, collections, found, logs, dropped, tuple(unknown), pending, limit.total, downloads())
