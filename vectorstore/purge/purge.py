"""Make what was erased unreadable in the server's files, and say what is left where: what ``purge_qdrant`` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from qdrant_client import QdrantClient

from findme.core.commands.progress import Report, ignore_progress
from findme.core.errors import UserFacingError
from vectorstore.catalog import registry
from vectorstore.catalog.alias import is_ours, live_collection, reconcile_alias
from vectorstore.catalog.cluster import require_all_nodes
from vectorstore.catalog.lock import collection_lock
from vectorstore.consistency import preflight
from vectorstore.models import QueueEntry, SyncLease
from vectorstore.purge.files import check_storage, prove, wait_for_dropped
from vectorstore.purge.saved_settings import noted, put_back
from vectorstore.purge.segments import segments_at_rest
from vectorstore.purge.stale_snapshots import (
    Holds,
    StaleSnapshot,
    delete_stale_snapshots,
    find_stale_snapshots,
    logs_with_removed,
    snapshots_of_dropped_collections,
)
from vectorstore.purge.vacuum import VacuumResult, untouched, vacuum
from vectorstore.qdrant.connection import qdrant
from vectorstore.rebuild.reindex import reindex
from vectorstore.retention.drop import count_losses, drop, drop_all_but_live
from vectorstore.retention.unique_vectors import DiscardLimit
from vectorstore.snapshots.nodes import Node, every_node, refuse_embedded

SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Purged:
    """What was done, and what is left. ``dry_run``: nothing was done; what is told as deleted or dropped would have been.

    ``collections``: of each, the segments that were rewritten, and the deleted points that are still in some. ``stale_snapshots``: the
    snapshots that may hold erased points, deleted or not. ``logs``: the collections whose write-ahead log may. ``dropped``: collections
    that are gone, with their logs. ``unknown``: collections with names of ours that nobody has noted; they are left as they are.
    ``pending``: people who wait to be written or deleted; those of them who are gone from PostgreSQL have not been purged.
    ``unique_vectors`` points in the dropped collections held the only copy of a vector.
    """

    dry_run: bool
    collections: tuple[VacuumResult, ...]
    stale_snapshots: tuple[StaleSnapshot, ...]
    logs: tuple[str, ...]
    dropped: tuple[str, ...]
    unknown: tuple[str, ...]
    pending: int
    unique_vectors: int = 0

    @property
    def clean(self) -> bool:
        """Whether nothing is left anywhere."""
        kept = [one for one in self.stale_snapshots if self.dry_run or not one.deleted]
        return not (kept or self.logs or self.unknown or self.pending or any(one.remaining or not one.proven for one in self.collections))


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
) -> Purged:
    """One at a time, beside searches and writes. Killed anywhere, the next run goes on, and puts back the settings that this one has changed.

    With LOG the live collection is built anew and the old one dropped, and with DROP_RETAINED those that are retained. Raises UserFacingError, with
    nothing done, where one is retained and is not to be dropped, where a node of a cluster is not there and none could be built, and where more
    than DISCARD_VECTORS unique vectors would be lost.
    STORAGE are the storage folders of all servers: with them it is proven that Qdrant has deleted the files of what it replaced or dropped.
    """
    limit = DiscardLimit(discard_vectors)
    refuse_embedded("segments, logs and snapshots that could be purged")
    with collection_lock(), qdrant() as client:
        servers = every_node(client, nodes)
        live_collection(client)
        reconcile_alias(client)
        _refuse_retained(log=log, drop_retained=drop_retained)
        if log:
            require_all_nodes(client)
        if storage:
            check_storage(servers, registry.write_targets(), storage)
        _count_losses(client, limit, log=log, drop_retained=drop_retained, dry_run=dry_run)
        preflight.check_stores(client)
        if dry_run:
            left = tuple(untouched(one, segments_at_rest(servers, one, seconds)) for one in registry.write_targets())
            doomed, kept = _sorted(find_stale_snapshots(client, servers), snapshots=snapshots, log=log)
            found = (*(replace(one, deleted=True) for one in doomed), *kept)
            return _result(client, left, found, _to_be_dropped(log=log, drop_retained=drop_retained), limit, dry_run=True)
        for collection in noted():
            put_back(client, collection)
        dropped = drop_all_but_live(client, limit=limit) if log or drop_retained else drop(client, registry.expired(), limit)
        if log:
            dropped += reindex(timeout=seconds, limit=limit, report=report).dropped
        vacuumed = [vacuum(client, servers, one, seconds=seconds, report=report) for one in registry.write_targets()]
        if storage:
            wait_for_dropped(servers, dropped, storage, live=vacuumed[0].collection, seconds=seconds)
        with_removed = logs_with_removed([one.collection for one in vacuumed])
        proven = tuple(prove(servers, one, storage, younger=one.collection not in with_removed, seconds=seconds) for one in vacuumed)
        return _result(client, proven, _delete_stale_snapshots(client, servers, snapshots=snapshots, log=log), dropped, limit)


def _refuse_retained(*, log: bool, drop_retained: bool) -> None:
    retained = registry.last_retained()
    if log and retained is not None and not drop_retained:
        raise UserFacingError(
            f"{retained.name!r} is retained, with a write-ahead log of its own: nothing was done. Add --drop-retained to drop it, after which there is no"
            " reindex_qdrant --rollback, or wait until it is no longer retained."
        )


def _count_losses(client: QdrantClient, limit: DiscardLimit, *, log: bool, drop_retained: bool, dry_run: bool) -> None:
    """Raises UniqueVectorsFound, but not of a dry run."""
    count_losses(client, _to_be_dropped(log=log, drop_retained=drop_retained), limit)
    if not dry_run:
        limit.require()


def _to_be_dropped(*, log: bool, drop_retained: bool) -> tuple[str, ...]:
    others = registry.all_but_live() if log or drop_retained else registry.expired()
    return (*others, *(name for name in [registry.live()] if log and name is not None))


def _delete_stale_snapshots(client: QdrantClient, nodes: Sequence[Node], *, snapshots: bool, log: bool) -> tuple[StaleSnapshot, ...]:
    doomed, kept = _sorted(find_stale_snapshots(client, nodes), snapshots=snapshots, log=log)
    return (*delete_stale_snapshots(nodes, doomed), *kept, *snapshots_of_dropped_collections(client, nodes, delete=snapshots))


def _sorted(found: Sequence[StaleSnapshot], *, snapshots: bool, log: bool) -> tuple[list[StaleSnapshot], list[StaleSnapshot]]:
    """Those that go, and those that stay: one that may hold the log only goes where the log itself went; one of a whole server is somebody else's
    as well."""
    doomed = [one for one in found if snapshots and one.ours and (log or one.holds is Holds.POINTS)]
    return doomed, [one for one in found if one not in doomed]


def _result(
    client: QdrantClient,
    collections: tuple[VacuumResult, ...],
    found: tuple[StaleSnapshot, ...],
    dropped: tuple[str, ...],
    limit: DiscardLimit,
    *,
    dry_run: bool = False,
) -> Purged:
    known = set(registry.rows().values_list("name", flat=True))
    unknown = sorted(one.name for one in client.get_collections().collections if is_ours(one.name) and one.name not in known)
    logs = logs_with_removed([one.collection for one in collections])
    waiting = QueueEntry.objects.values("user_id").union(SyncLease.objects.values("user_id")).count()
    return Purged(dry_run, collections, found, logs, dropped, tuple(unknown), waiting, limit.total)
