"""A new collection from PostgreSQL, beside the live one and in its place; and the way back: what ``reindex_qdrant`` does."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from qdrant_client import QdrantClient

from findme.core.commands.progress import Report, ignore_progress
from findme.core.errors import UserFacingError, one_line
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
from vectorstore.rebuild.build import go_on_with, make, wait_for_graphs
from vectorstore.rebuild.losses import require_no_losses
from vectorstore.retention.drop import drop, drop_all_but_live, wait_for_active_leases
from vectorstore.retention.unique_vectors import DiscardLimit
from vectorstore.schema.apply import note_as_it_is
from vectorstore.schema.plan import plan

TIMEOUT_SECONDS = 300.0

log = logging.getLogger("findme.vectorstore.reindex")


@dataclass(frozen=True, slots=True)
class Reindexed:
    """The collection that is searched now, and the one that was: ``retained``, until ``retained_until`` or, if that is None, until somebody drops it; or
    ``dropped``, as others may be that were due; or still to be dropped. ``written`` points are new. ``acceptance`` is None where a run
    before this one had passed it, moved the alias, and died."""

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
    """Build, backfill, accept and switch; one at a time. Killed anywhere, the next run goes on from there.

    Raises UserFacingError with the alias where it was: on a cluster without one of its nodes, where the acceptance check refuses, and where
    the new collection fails. Raises UniqueVectorsFound, with nothing begun, if more unique vectors would be lost than the ``limit`` allows.
    """
    limit = limit or DiscardLimit()
    with collection_lock():
        with qdrant() as client:
            require_all_nodes(client)
            require_no_losses(client, limit)
            _note_what_takes_a_new_one(client)
            moved = _settle(client)
            if moved is not None and not moved.was_live:
                return _finished(client, moved, limit)
            drop(client, registry.expired(), limit)
            name = _begun(client)
        backfilled = backfill(name, timeout=timeout, report=report)
        log.info("%s written, %s there.", counted(backfilled.written, "point"), counted(backfilled.found, "was", "were"))
        wait_for_graphs(name, timeout)
        return _put_in_place(check_points(name, report), retain, min_recall, backfilled.written, limit)


def roll_back(
    to: str | None = None,
    *,
    retain: timedelta | None = None,
    min_recall: float | None = None,
    limit: DiscardLimit | None = None,
    report: Report = ignore_progress,
) -> Reindexed:
    """Back to the newest collection that is retained and older than the live one, or to the one named TO, through the same acceptance
    check. The one that is left is retained for RETAIN, by default for as long as the other one was to be. Run twice it goes back once, or
    to where nothing older is retained.

    Raises UserFacingError with the alias where it was, and UniqueVectorsFound as ``reindex`` does.
    """
    limit = limit or DiscardLimit()
    with collection_lock():
        with qdrant() as client:
            require_no_losses(client, limit)
            moved = _settle(client)
            if moved is not None and moved.was_live:
                return _finished(client, moved, limit)
            row = VectorCollection.objects.get(name=_way_back(to))
            if not client.collection_exists(row.name):
                registry.mark_failed(row.name, "it is gone from Qdrant")
                raise UserFacingError(f"{row.name!r} was retained, and is gone from Qdrant: {collection_name()!r} stays where it is.")
        proven = check_points(row.name, report)
        return _put_in_place(proven, _remaining_retention(row) if retain is None else retain, min_recall, 0, limit)


def _way_back(to: str | None) -> str:
    retained, live = registry.retained(), registry.live() or ""
    older = [name for name in retained if registry.number_of(name) < registry.number_of(live)] if to is None else [to]
    if not older:
        raise UserFacingError(f"{collection_name()!r} leads to {live!r}, and nothing older is retained to go back to. {_which(retained)}")
    if older[0] not in retained:
        raise UserFacingError(f"{older[0]!r} is not retained: {collection_name()!r} leads to {live!r}. {_which(retained)}")
    return older[0]


def _which(retained: list[str]) -> str:
    if not retained:
        return "reindex_qdrant retains the old one with --retain."
    return f"Retained: {', '.join(map(repr, retained))}. Name one after --rollback to go to it."


def drop_retained(*, dry_run: bool = False, limit: DiscardLimit | None = None) -> tuple[str, ...]:
    """Drop every collection of the alias but the live one; or say which these are. The ``limit`` counts their unique vectors."""
    with collection_lock(), qdrant() as client:
        return drop_all_but_live(client, dry_run=dry_run, limit=limit)


def _begun(client: QdrantClient) -> str:
    name = go_on_with(client)
    if name is not None:
        log.info("%s was begun, and goes on.", name)
        return name
    name = make(client)
    log.info("%s is made, and written from now on.", name)
    return name


@dataclass(frozen=True, slots=True)
class _Moved:
    """An alias that somebody moved who did not live to write it down: from where to where, and whether it had led there before."""

    before: str
    collection: str
    was_live: bool


def _note_what_takes_a_new_one(client: QdrantClient) -> None:
    """A collection that nobody has noted, or to which no alias leads, is ``init_qdrant``'s to note; but that leaves to this one what takes a new one."""
    planned = plan(client)
    if planned.rebuilt and (planned.live.alias_of is None or planned.collection not in planned.live.rows):
        note_as_it_is(client, planned)


def _settle(client: QdrantClient) -> _Moved | None:
    """What another run has left is brought to where the alias leads. Raises UserFacingError where nobody knows what that is."""
    live = live_collection(client)
    before, row = registry.live(), registry.rows().filter(name=live).first()
    moved = reconcile_alias(client)
    preflight.check_stores(client)  # what was live before may be gone, which holds nobody up
    if registry.live() != live:
        raise UserFacingError(f"{live!r} is not noted in PostgreSQL: run manage.py init_qdrant, and then this again.")
    if not moved or before is None or row is None or row.state != registry.State.READY:
        return None
    return _Moved(before, live, row.live_since is not None)


def _finished(client: QdrantClient, moved: _Moved, limit: DiscardLimit) -> Reindexed:
    log.info("%s leads to %s already: a run that was broken off had moved it.", collection_name(), moved.collection)
    return _reported(moved.collection, moved.before, _drop_expired(client, limit), 0, None)


def _remaining_retention(row: VectorCollection) -> timedelta | None:
    return None if row.retain_until is None else max(row.retain_until - datetime.now(UTC), AT_ONCE)


def _put_in_place(
    proven: CheckedPoints, retain: timedelta | None, min_recall: float | None, written: int, limit: DiscardLimit
) -> Reindexed:
    name = proven.collection
    with qdrant() as client:
        accepted = check_search(client, proven, min_recall=min_recall)
        log.info("%s is accepted: %s, recall@10 %.4f%s.", name, counted(accepted.points, "point"), accepted.recall, _beside(accepted))
        replaced = switch_alias(client, name, retain=retain)
        log.info("%s leads to %s.", collection_name(), name)
        assert replaced is not None
    wait_for_active_leases()
    with qdrant() as client:
        return _reported(name, replaced, _drop_expired(client, limit), written, accepted)


def _reported(name: str, replaced: str, dropped: tuple[str, ...], written: int, accepted: AcceptanceResult | None) -> Reindexed:
    left = VectorCollection.objects.filter(name=replaced, state=registry.State.RETAINED).first()
    return Reindexed(collection_name(), name, replaced, left is not None, left.retain_until if left else None, dropped, written, accepted)


def _drop_expired(client: QdrantClient, limit: DiscardLimit) -> tuple[str, ...]:
    """The alias has moved: that something cannot be dropped now is no reason to say that it has not."""
    try:
        return drop(client, registry.expired(), limit)
    except UserFacingError as error:
        log.info("Not everything that is due could be dropped: %s", one_line(error))
        return ()


def _beside(accepted: AcceptanceResult) -> str:
    return "" if accepted.live_recall is None else f" (live: {accepted.live_recall:.4f})"
