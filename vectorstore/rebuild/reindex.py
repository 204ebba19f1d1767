"""Rebuild the collection from PostgreSQL next to the live one, and make it live; and roll back: ``reindex_qdrant``."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from qdrant_client import QdrantClient

from findme.core.commands.progress import Report, ignore_progress
from findme.core.errors import UserFacingError
from findme.core.plurals import counted
from vectorstore.catalog import registry
from vectorstore.catalog.alias import AT_ONCE, live_collection, reconcile_alias, switch_alias
from vectorstore.catalog.cluster import require_all_nodes
from vectorstore.catalog.lock import collection_lock
from vectorstore.consistency import preflight
from vectorstore.models import VectorCollection
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.rebuild.acceptance import AcceptanceResult, CheckedPoints, check_points, check_search
from vectorstore.rebuild.backfill import backfill
from vectorstore.rebuild.build import make, resume_build, wait_for_graphs
from vectorstore.rebuild.losses import require_no_losses
from vectorstore.retention.drop import drop, drop_all_but_live, try_drop_expired, wait_for_active_leases
from vectorstore.retention.unique_vectors import DiscardLimit
from vectorstore.schema.apply import register_for_rebuild
from vectorstore.schema.plan import plan

TIMEOUT_SECONDS = 300.0

log = logging.getLogger("findme.vectorstore.reindex")


@dataclass(frozen=True, slots=True)
class Reindexed:
    """The live collection, and the ``replaced`` one.

    The replaced one is ``retained`` until ``retained_until`` (None: until an operator drops it), or it is in ``dropped`` with other expired
    collections, or it is still to be dropped. ``written`` points are new. ``acceptance`` is None if an earlier run had passed the check and
    moved the alias before it was killed.
    """

    alias: str
    collection: str
    replaced: str
    retained: bool
    retained_until: datetime | None
    dropped: tuple[str, ...]
    written: int
    acceptance: AcceptanceResult | None


def reindex(
    *,
    retain: timedelta = AT_ONCE,
    min_recall: float | None = None,
    timeout: float = TIMEOUT_SECONDS,
    limit: DiscardLimit | None = None,
    report: Report = ignore_progress,
) -> Reindexed:
    """Build, backfill, accept and switch. One process at a time. After a kill the next run resumes.

    Raises UserFacingError, with the alias unchanged, if a node of the cluster does not answer, if the acceptance check fails, or if the new
    collection fails. Raises UniqueVectorsFound, with nothing changed, if more unique vectors would be lost than the ``limit`` allows.
    """
    limit = limit or DiscardLimit()
    with collection_lock():
        with qdrant() as client:
            require_all_nodes(client)
            require_no_losses(client, limit)
            _register_for_rebuild(client)
            moved = _reconcile(client)
            if moved is not None and not moved.was_live:
                return _finish_interrupted(moved, limit)
            drop(client, registry.expired(), limit)
            name = _start_or_resume(client)
        backfilled = backfill(name, timeout=timeout, report=report)
        log.info("%s written, %s already existed.", counted(backfilled.written, "point"), f"{backfilled.found:,}")
        wait_for_graphs(name, timeout)
        return _promote(check_points(name, report), retain, min_recall, backfilled.written, limit)


def roll_back(
    to: str | None = None,
    *,
    retain: timedelta | None = None,
    min_recall: float | None = None,
    limit: DiscardLimit | None = None,
    report: Report = ignore_progress,
) -> Reindexed:
    """Roll back to the newest retained collection that is older than the live one, or to the one named ``to``.

    The target must pass the acceptance check. The replaced collection is retained for ``retain``, by default for as long as the target would
    have been. A second run goes back one more, until nothing older is retained. Raises UserFacingError with the alias unchanged, and
    UniqueVectorsFound as ``reindex`` does.
    """
    limit = limit or DiscardLimit()
    with collection_lock():
        with qdrant() as client:
            require_no_losses(client, limit)
            moved = _reconcile(client)
            if moved is not None and moved.was_live:
                return _finish_interrupted(moved, limit)
            row = VectorCollection.objects.get(name=_rollback_target(to))
            if not client.collection_exists(row.name):
                registry.mark_failed(row.name, "it is gone from Qdrant")
                raise UserFacingError(
                    f"The retained collection {row.name!r} is gone from Qdrant: {collection_name()!r} was not moved. Name another one after --rollback."
                )
        checked = check_points(row.name, report)
        return _promote(checked, _remaining_retention(row) if retain is None else retain, min_recall, 0, limit)


def _rollback_target(to: str | None) -> str:
    retained, live = registry.retained(), registry.live() or ""
    older = [name for name in retained if registry.number_of(name) < registry.number_of(live)] if to is None else [to]
    if not older:
        raise UserFacingError(
            f"{collection_name()!r} points to {live!r} and no older collection is retained. {_describe_retained(retained)}"
        )
    if older[0] not in retained:
        raise UserFacingError(f"{older[0]!r} is not retained: {collection_name()!r} points to {live!r}. {_describe_retained(retained)}")
    return older[0]


def _describe_retained(retained: list[str]) -> str:
    if not retained:
        return "manage.py reindex_qdrant --retain keeps the replaced collection."
    return f"Retained: {', '.join(map(repr, retained))}. Name one of them after --rollback."


def drop_retained(*, dry_run: bool = False, limit: DiscardLimit | None = None) -> tuple[str, ...]:
    """Drop every collection of the alias except the live one, or only list them. The ``limit`` counts their unique vectors."""
    with collection_lock(), qdrant() as client:
        return drop_all_but_live(client, dry_run=dry_run, limit=limit)


def _start_or_resume(client: QdrantClient) -> str:
    name = resume_build(client)
    if name is not None:
        log.info("Resuming the build of %s.", name)
        return name
    name = make(client)
    log.info("Created %s. Workers write it from now on.", name)
    return name


@dataclass(frozen=True, slots=True)
class _MovedAlias:
    """An alias that a killed process moved without recording it. ``was_live``: the collection had been live before."""

    before: str
    collection: str
    was_live: bool


def _register_for_rebuild(client: QdrantClient) -> None:
    """Register a collection without a row or an alias if it needs a rebuild. ``init_qdrant`` registers all others."""
    planned = plan(client)
    if planned.rebuilt and (planned.live.alias_of is None or planned.collection not in planned.live.rows):
        register_for_rebuild(client, planned)


def _reconcile(client: QdrantClient) -> _MovedAlias | None:
    """Make the registry agree with the alias after an interrupted run. Raise UserFacingError if the collection is not registered."""
    live = live_collection(client)
    before, row = registry.live(), registry.rows().filter(name=live).first()
    moved = reconcile_alias(client)
    # The previous live collection may be gone. That blocks no worker.
    preflight.check_stores(client)
    if registry.live() != live:
        raise UserFacingError(f"{live!r} is not registered in PostgreSQL. Run manage.py init_qdrant, then run this command again.")
    if not moved or before is None or row is None or row.state != registry.State.READY:
        return None
    return _MovedAlias(before, live, row.live_since is not None)


def _finish_interrupted(moved: _MovedAlias, limit: DiscardLimit) -> Reindexed:
    log.info("%s already points to %s: an interrupted run had moved it.", collection_name(), moved.collection)
    return _result(moved.collection, moved.before, try_drop_expired(limit), 0, None)


def _remaining_retention(row: VectorCollection) -> timedelta | None:
    return None if row.retain_until is None else max(row.retain_until - datetime.now(UTC), AT_ONCE)


def _promote(checked: CheckedPoints, retain: timedelta | None, min_recall: float | None, written: int, limit: DiscardLimit) -> Reindexed:
    name = checked.collection
    with qdrant() as client:
        accepted = check_search(client, checked, min_recall=min_recall)
        log.info("%s is accepted: %s, recall@10 %.4f%s.", name, counted(accepted.points, "point"), accepted.recall, _live_recall(accepted))
        replaced = switch_alias(client, name, retain=retain)
        log.info("%s leads to %s.", collection_name(), name)
        assert replaced is not None
    wait_for_active_leases()
    return _result(name, replaced, try_drop_expired(limit), written, accepted)


def _result(name: str, replaced: str, dropped: tuple[str, ...], written: int, accepted: AcceptanceResult | None) -> Reindexed:
    kept = VectorCollection.objects.filter(name=replaced, state=registry.State.RETAINED).first()
    return Reindexed(collection_name(), name, replaced, kept is not None, kept.retain_until if kept else None, dropped, written, accepted)


def _live_recall(accepted: AcceptanceResult) -> str:
    return "" if accepted.live_recall is None else f" (live: {accepted.live_recall:.4f})"
