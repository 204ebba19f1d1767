"""Drop collections that are no longer needed: expired retained ones, failed ones, and leftovers of interrupted rebuilds."""

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
steps = logging.getLogger("findme.vectorstore.retention")
"""Messages that the commands print."""


def drop(client: QdrantClient, names: Iterable[str], limit: DiscardLimit | None = None) -> tuple[str, ...]:
    """Delete collections and their rows. Return the names of those that are gone. Only under ``collection_lock``.

    Each row's state changes first, so after a kill the next run resumes. The target of the alias is never dropped, because Qdrant would delete
    the alias with it. Another database's collection is not dropped either. A collection with more unique vectors than the ``limit`` allows stays
    and is still written. UniqueVectorsFound is raised after all others are dropped.
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
    """Count the unique vectors of one collection. One that was never live holds only points of FindMe or of a snapshot."""
    if not registry.may_hold_others_points(name) or not client.collection_exists(name) or is_foreign(client, name):
        return 0
    return limit.count(name, UniqueVectors.of(client, name))


def _drop(client: QdrantClient, name: str, limit: DiscardLimit) -> bool:
    if alias_target(client) == name:
        return False
    if _losses(client, name, limit):
        limit.require(f"{name!r} stays")
    registry.mark_for_deletion(name)
    if client.collection_exists(name) and not is_foreign(client, name):
        if alias_target(client) == name:
            return False
        client.delete_collection(name, timeout=DROP_SECONDS)
        if client.collection_exists(name):
            raise UserFacingError(
                f"Qdrant reports that {name!r} is deleted, but it still exists. Check Qdrant's log, then run the command again."
            )
    registry.remove(name)
    return True


def is_foreign(client: QdrantClient, name: str) -> bool:
    """Return whether a formerly live collection is no longer this database's.

    Another database may have adopted it, or a program may have created a new one with its name. A collection that was never live is ours.
    """
    owner = (client.get_collection(name).config.metadata or {}).get(DATABASE)
    return _was_live(name) and owner != database_id()


def _was_live(name: str) -> bool:
    return registry.rows().filter(name=name, live_since__isnull=False).exists()


def wait_for_active_leases() -> None:
    """Wait for leases from before the alias moved. For these workers the old collection is the live one, and they would fail without it.

    Waits until the leases expire at most. Later claims treat the old collection as retained and do not need it.
    """
    claimed = set(SyncLease.objects.values_list("pk", "worker_id"))
    for _ in Deadline(settings.SYNC_LEASE_SECONDS).polls():
        claimed &= set(SyncLease.objects.filter(expires_at__gt=Now()).values_list("pk", "worker_id"))
        if not claimed:
            return


def try_drop_expired(limit: DiscardLimit) -> tuple[str, ...]:
    """Drop expired collections after the alias has moved: log an error instead of raising it. Only under ``collection_lock``."""
    try:
        with qdrant() as client:
            return drop(client, registry.expired(), limit)
    except UserFacingError as error:
        steps.info("Not every expired collection could be dropped: %s", one_line(error))
        return ()


def drop_expired() -> tuple[str, ...]:
    """Drop expired collections, as an idle worker. Does nothing while another process creates or moves collections: it drops them itself.

    Without an alias nothing is dropped: the retained collection may be the last one, and ``init_qdrant`` sets the alias to it. Raises
    StoreUnavailable.
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
    """Drop retained and failed collections, and leftovers of interrupted rebuilds. Only under ``collection_lock``.

    Raises UniqueVectorsFound, with nothing dropped, unless it is a dry run.
    """
    limit = limit or DiscardLimit()
    reconcile_alias(client)
    if registry.live() is None:
        raise StoreUnavailable("The live collection is not known. Run manage.py init_qdrant, then run this command again.")
    names = registry.all_but_live()
    count_losses(client, names, limit)
    if dry_run:
        return tuple(names)
    limit.require("nothing was dropped")
    return drop(client, names, limit)
