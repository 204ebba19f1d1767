"""What is no longer needed is dropped: what was retained for as long as was said, what failed, and what nobody goes on with."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from django.conf import settings
from django.db.models.functions import Now
from qdrant_client import QdrantClient

from findme.core.errors import StoreUnavailable, UserFacingError, one_line
from findme.core.waiting import Deadline
from vectorstore.catalog import registry
from vectorstore.catalog.alias import alias_target, reconcile_alias
from vectorstore.catalog.lock import advisory_lock
from vectorstore.catalog.ownership import DATABASE, database_id
from vectorstore.models import SyncLease
from vectorstore.qdrant.connection import qdrant
from vectorstore.retention.unique_vectors import DiscardLimit, UniqueVectors, UniqueVectorsFound

DROP_SECONDS = 60
"""How long Qdrant may take to delete a collection's files."""

log = logging.getLogger(__name__)


def drop(client: QdrantClient, names: Iterable[str], limit: DiscardLimit | None = None) -> tuple[str, ...]:
    """Delete collections and their rows, the rows' state first: killed anywhere, whoever drops next goes on. Those that are gone now.

    Only under ``collection_lock``. What the alias leads to is never dropped, since Qdrant would take the alias with it; what belongs to another
    database neither. A collection with more unique vectors than the ``limit`` allows stays, and is still written: when all others are dropped, this
    raises UniqueVectorsFound.
    """
    limit = limit or DiscardLimit()
    dropped: list[str] = []
    refused: UniqueVectorsFound | None = None
    for name in names:
        try:
            if _drop(client, name, limit):
                dropped.append(name)
        except UniqueVectorsFound as error:
            refused = error
    if refused is not None:
        raise refused
    return tuple(dropped)


def count_losses(client: QdrantClient, names: Iterable[str], limit: DiscardLimit) -> int:
    """Count the unique vectors that would be lost if these collections were dropped. Changes nothing."""
    return sum(_losses(client, name, limit) for name in names)


def _losses(client: QdrantClient, name: str, limit: DiscardLimit) -> int:
    """A collection that was never live holds nothing but what FindMe, or a snapshot, has put into it."""
    if not registry.may_hold_others_points(name) or not client.collection_exists(name) or _is_anothers(client, name):
        return 0
    return limit.count(name, UniqueVectors.of(client, name))


def _drop(client: QdrantClient, name: str, limit: DiscardLimit) -> bool:
    if alias_target(client) == name:
        return False
    if _losses(client, name, limit):
        limit.require(f"{name!r} stays")
    registry.mark_for_deletion(name)
    if client.collection_exists(name) and not _is_anothers(client, name):
        if alias_target(client) == name:
            return False
        client.delete_collection(name, timeout=DROP_SECONDS)
        if client.collection_exists(name):
            raise UserFacingError(f"Qdrant says that {name!r} is deleted, and it is there: look at its log, and run it again.")
    registry.remove(name)
    return True


def _is_anothers(client: QdrantClient, name: str) -> bool:
    """Whether a collection that was live once is another one by now: another database has adopted it, or a program has made one of its
    name. One that never was is what we made of the name."""
    owner = (client.get_collection(name).config.metadata or {}).get(DATABASE)
    return _was_live(name) and owner != database_id()


def _was_live(name: str) -> bool:
    return registry.rows().filter(name=name, live_since__isnull=False).exists()


def wait_for_active_leases() -> None:
    """Wait for whoever claimed people before the alias moved: for them the old collection is the live one, and they would fail without it.

    At most until their leases have run out; whoever claims later takes it for one that is retained, and goes on without it.
    """
    claimed = set(SyncLease.objects.values_list("pk", "worker_id"))
    for _ in Deadline(settings.SYNC_LEASE_SECONDS).polls():
        claimed &= set(SyncLease.objects.filter(expires_at__gt=Now()).values_list("pk", "worker_id"))
        if not claimed:
            return


def drop_expired() -> tuple[str, ...]:
    """What a worker does when it has nothing else to do; whoever is just making or moving collections does it themselves. Where no alias leads anywhere
    nothing is dropped: the one that is retained may be the last there is, and ``init_qdrant`` sets the alias to it.

    Raises StoreUnavailable.
    """
    if not registry.expired() or not advisory_lock().try_acquire():
        return ()
    try:
        with qdrant() as client:
            reconcile_alias(client)
            return () if alias_target(client) is None else drop(client, registry.expired())
    except UniqueVectorsFound as error:
        log.warning("An expired collection is not dropped: %s", one_line(error))
        raise
    finally:
        advisory_lock().release()


def drop_all_but_live(client: QdrantClient, *, dry_run: bool = False, limit: DiscardLimit | None = None) -> tuple[str, ...]:
    """What is retained, what failed, and what a rebuild that was broken off has left. Only under ``collection_lock``. Raises UniqueVectorsFound, with
    nothing dropped, unless it is a dry run."""
    limit = limit or DiscardLimit()
    reconcile_alias(client)
    if registry.live() is None:
        raise StoreUnavailable("It is not known which collection is live: run manage.py init_qdrant, and then this again.")
    names = registry.all_but_live()
    count_losses(client, names, limit)
    if dry_run:
        return tuple(names)
    limit.require("nothing was dropped")
    return drop(client, names, limit)
