"""Make a collection live. Every command that moves the alias to another collection does it here.

The registry records the move, the alias moves, and the registry follows. After a kill in between, the next run finishes the move.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from qdrant_client import QdrantClient

from findme.core.errors import UserFacingError
from vectorstore.catalog import registry
from vectorstore.catalog.alias import live_collection, reconcile_alias, switch_alias
from vectorstore.consistency import preflight
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.rebuild.acceptance import AcceptanceResult
from vectorstore.retention.drop import count_losses, try_drop_expired, wait_for_active_leases
from vectorstore.retention.unique_vectors import DiscardLimit, UniqueVectors, points_hold
from vectorstore.schema.live import read_live

Switch = Callable[[QdrantClient, str, timedelta | None], str | None]
"""A function like ``switch_alias``."""

log = logging.getLogger("findme.vectorstore.rebuild")


@dataclass(frozen=True)
class Promotion:
    """The live collection, and the ``replaced`` one (None if there was none).

    The replaced one is ``retained`` until ``retained_until`` (None: until an operator drops it), or it is in ``dropped`` with other expired
    collections, or it is still to be dropped. ``acceptance`` is None if an earlier run had passed the check and moved the alias before it was
    killed.
    """

    alias: str
    collection: str
    replaced: str | None
    retained: bool
    retained_until: datetime | None
    dropped: tuple[str, ...]
    acceptance: AcceptanceResult | None


def promote(accepted: AcceptanceResult, *, retain: timedelta | None, limit: DiscardLimit, switch: Switch = switch_alias) -> Promotion:
    """Move the alias to the accepted collection, and drop expired collections once no worker needs them. Only under ``collection_lock``.

    The replaced collection is retained for ``retain`` (None: until an operator drops it). Raises as ``switch_alias`` does.
    """
    with qdrant() as client:
        replaced = switch(client, accepted.collection, retain)
    log.info("The alias %s now points to %s.", collection_name(), accepted.collection)
    return _finish(accepted.collection, replaced, limit, accepted)


def finish_interrupted(limit: DiscardLimit, *, rollback: bool) -> Promotion | None:
    """Finish a rebuild, or a ``rollback``, that was killed after it had moved the alias. Return None if there was none."""
    before, ready = registry.live(), dict(registry.rows().filter(state=registry.State.READY).values_list("name", "live_since"))
    with qdrant() as client:
        reconcile(client)
    live = registry.live()
    # Only a rollback moves the alias to a collection that was live before.
    if before is None or live not in ready or (ready[live] is not None) != rollback:
        return None
    log.info("The alias %s already points to %s: an interrupted run had moved it.", collection_name(), live)
    return _finish(live, before, limit, None)


def _finish(collection: str, replaced: str | None, limit: DiscardLimit, accepted: AcceptanceResult | None) -> Promotion:
    wait_for_active_leases()
    dropped = try_drop_expired(limit)
    row = registry.rows().filter(name=replaced, state=registry.State.RETAINED).first()
    return Promotion(collection_name(), collection, replaced, row is not None, row.retain_until if row else None, dropped, accepted)


def reconcile(client: QdrantClient) -> None:
    """Make the registry agree with the alias, and check that this process may write.

    Raises CollectionNotFound without a live collection, and UserFacingError if it is not registered.
    """
    live = live_collection(client)
    reconcile_alias(client)
    # The previous live collection may be gone. That blocks no worker.
    preflight.check_stores(client)
    if registry.live() != live:
        raise UserFacingError(f"{live!r} is not registered in PostgreSQL. Run manage.py init_qdrant, then run this command again.")


def require_no_losses(client: QdrantClient, limit: DiscardLimit) -> None:
    """Raise UniqueVectorsFound if replacing the live collection would lose more unique vectors than the ``limit`` allows.

    Counts the live collection and the expired ones.
    """
    live = read_live(client)
    if live.found is not None and live.ownership_problem is None:
        limit.count(live.collection, UniqueVectors.of(client, live.collection))
    count_losses(client, registry.expired(), limit)
    limit.require()


def describe_replaced(done: Promotion, limit: DiscardLimit) -> list[str]:
    """Return sentences about what happened to the replaced collection."""
    name, unique = done.replaced, limit.counts.get(done.replaced or "", 0)
    if name is None:
        return []
    if name in done.dropped:
        return [f"{name} was dropped."]
    if not done.retained:
        return [f"{name} is not dropped yet: an idle worker or the next run drops it."]
    end = (
        "you run reindex_qdrant --drop-retained."
        if done.retained_until is None
        else f"{done.retained_until:%Y-%m-%d %H:%M:%S} UTC: reindex_qdrant --rollback makes it live again."
    )
    kept = f"{points_hold(unique)} the only copy of a user's vector in {name}: no worker drops it. To drop it, run reindex_qdrant --drop-retained --discard-vectors {unique}."
    return [f"{name} is retained until {end}", *([kept] if unique else [])]
