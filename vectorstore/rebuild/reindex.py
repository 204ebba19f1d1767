"""Rebuild the collection from PostgreSQL next to the live one, and make it live; and roll back: ``reindex_qdrant``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from findme.core.commands.progress import Report, ignore_progress
from findme.core.errors import UserFacingError
from vectorstore.catalog import registry
from vectorstore.catalog.alias import AT_ONCE
from vectorstore.catalog.cluster import require_all_nodes
from vectorstore.catalog.lock import collection_lock
from vectorstore.models import VectorCollection
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.rebuild.acceptance import accept
from vectorstore.rebuild.build import TIMEOUT_SECONDS, build
from vectorstore.rebuild.promote import Promotion, finish_interrupted, promote, require_no_losses
from vectorstore.retention.drop import drop, drop_all_but_live
from vectorstore.retention.unique_vectors import DiscardLimit
from vectorstore.schema.apply import register_for_rebuild


@dataclass(frozen=True)
class Reindexed(Promotion):
    """The promotion of a rebuilt or retained collection. ``written`` points are new."""

    written: int = 0


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
            register_for_rebuild(client)
        finished = finish_interrupted(limit, rollback=False)
        if finished is not None:
            return Reindexed(**vars(finished))
        with qdrant() as client:
            drop(client, registry.expired(), limit)
        name, backfilled = build(timeout=timeout, report=report)
        accepted = accept(name, min_recall=min_recall, report=report)
        return Reindexed(**vars(promote(accepted, retain=retain, limit=limit)), written=backfilled.written)


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
        finished = finish_interrupted(limit, rollback=True)
        if finished is not None:
            return Reindexed(**vars(finished))
        row = VectorCollection.objects.get(name=_rollback_target(to))
        with qdrant() as client:
            if not client.collection_exists(row.name):
                registry.mark_failed(row.name, "it is gone from Qdrant")
                raise UserFacingError(
                    f"The retained collection {row.name!r} is gone from Qdrant: {collection_name()!r} was not moved. Name another one after --rollback."
                )
        accepted = accept(row.name, min_recall=min_recall, report=report)
        return Reindexed(**vars(promote(accepted, retain=_remaining_retention(row) if retain is None else retain, limit=limit)))


def _rollback_target(to: str | None) -> str:
    retained, live = [name for name in registry.retained() if name != registry.copy_name()], registry.live() or ""
    if to == registry.copy_name():
        raise UserFacingError(
            f"{to!r} is the copy of a collection that was adopted, which FindMe cannot make live: nothing was changed."
            " Move the alias by hand as docs/how-to/adopt-a-collection.md describes."
        )
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


def _remaining_retention(row: VectorCollection) -> timedelta | None:
    return None if row.retain_until is None else max(row.retain_until - datetime.now(UTC), AT_ONCE)
