"""The alias in Qdrant and its agreement with the registry in PostgreSQL.

The two cannot change in one transaction. So the registry first records the move, then the alias moves, then the registry follows. After a crash in
between, the next process only has to read where the alias points.
"""

from __future__ import annotations

import re
from datetime import timedelta

from django.conf import settings
from qdrant_client import QdrantClient
from qdrant_client.models import (
    AliasOperations,
    CreateAlias,
    CreateAliasOperation,
    DeleteAlias,
    DeleteAliasOperation,
)

from findme.core.errors import StoreUnusable, UserFacingError
from vectorstore.catalog import registry
from vectorstore.catalog.lock import advisory_lock
from vectorstore.catalog.ownership import check_owner
from vectorstore.models import VectorCollection
from vectorstore.qdrant.address import whole_timeout_seconds
from vectorstore.qdrant.connection import collection_name, is_embedded
from vectorstore.qdrant.errors import CollectionNotFound

AT_ONCE = timedelta(0)


def check_alias(client: QdrantClient) -> None:
    """Raise unless the alias points to a collection that receives writes.

    Raise CollectionNotFound (a StoreUnavailable) if the alias does not exist. Raise UserFacingError if it points to a collection that is not in
    the registry: that collection is searched, but receives no writes. Raise ForeignCollection if that collection belongs to another database.

    If the alias points to another write target, an idle worker updates the registry later. If it points to a failed collection, which receives no
    writes either, the registry is updated here. Nothing is checked while another process creates or moves collections.
    """
    if _is_write_target(alias_target(client)) or not advisory_lock().try_acquire():
        return
    try:
        reconcile_alias(client)
    finally:
        advisory_lock().release()
    target = live_collection(client)
    if not _is_write_target(target):
        check_owner(client, target)
        raise UserFacingError(
            f"The alias {collection_name()!r} points to {target!r}, which PostgreSQL does not know, so it receives no writes: run"
            " manage.py init_qdrant, which registers it and queues all users, or move the alias back."
        )


def _is_write_target(target: str | None) -> bool:
    return registry.rows().write_targets().filter(name=target).exists()


def switch_alias(client: QdrantClient, target: str, retain: timedelta | None) -> str | None:
    """Move the alias atomically to ``target``, which has passed the acceptance check, and return the previous live collection.

    That collection is retained for ``retain`` (None: until an operator drops it). The caller holds ``collection_lock``. Raise AliasNotMoved if
    ``target`` has failed in the meantime, and UserFacingError if the alias does not point to it afterwards.
    """
    registry.prepare(target, retain)
    before = point_alias(client, target)
    registry.reconcile(target)
    return before


def point_alias(client: QdrantClient, target: str) -> str | None:
    """Create or move the alias in one request, and read it back. Return the collection that it pointed to before."""
    before = alias_target(client)
    client.update_collection_aliases(_moves(before, target), timeout=whole_timeout_seconds())
    after = alias_target(client)
    if after != target:
        raise UserFacingError(
            f"Qdrant answered that the alias {collection_name()!r} points to {target!r}, but it points to {after!r}. Check Qdrant's log, then run"
            " this command again."
        )
    return before


def _moves(before: str | None, target: str) -> list[AliasOperations]:
    create = CreateAliasOperation(create_alias=CreateAlias(collection_name=target, alias_name=collection_name()))
    delete = DeleteAliasOperation(delete_alias=DeleteAlias(alias_name=collection_name()))
    return [create] if before is None else [delete, create]


def reconcile_alias(client: QdrantClient) -> bool:
    """Make the registry agree with the alias, for example after a crash, and return whether it changed.

    The caller holds ``collection_lock``. A collection that is not in the registry is left to ``init_qdrant``. An alias that an operator has moved to
    the copy of an adopted collection is not followed: the copy is never live for FindMe.
    """
    target = alias_target(client)
    try:
        return target is not None and is_ours(target) and registry.reconcile(target)
    except VectorCollection.DoesNotExist:
        return False


def reconcile_alias_if_stale(client: QdrantClient) -> bool:
    """Make the registry agree with the alias, as idle workers do regularly, and return whether it changed.

    This does not wait for a process that moves the alias, because that process updates the registry itself.
    """
    if alias_target(client) == registry.live() or not advisory_lock().try_acquire():
        return False
    try:
        return reconcile_alias(client)
    finally:
        advisory_lock().release()


def first_collection() -> str:
    """Return the name of the first real collection."""
    return f"{collection_name()}_v1"


def is_ours(collection: str) -> bool:
    """Return whether the name of a real collection is one that this alias may point to."""
    return re.fullmatch(rf"{re.escape(collection_name())}_v[1-9][0-9]*", collection) is not None


def may_be_ours(collection: str) -> bool:
    """Return whether the name is one of those that this project gives to real collections, also to a retained copy."""
    return is_ours(collection) or collection == registry.copy_name()


def alias_target(client: QdrantClient) -> str | None:
    """Return the collection that is searched, or None if the alias does not exist."""
    return next((alias.collection_name for alias in client.get_aliases().aliases if alias.alias_name == collection_name()), None)


def live_collection(client: QdrantClient) -> str:
    """Return the real collection behind the alias, for all code that writes or searches.

    Raise CollectionNotFound, which names ``init_qdrant``. Raise StoreUnusable if the alias points to a collection of another service, or if a real
    collection has the alias's name.
    """
    target = alias_target(client)
    if target is None:
        if collection_name() in collection_names(client):
            raise StoreUnusable(f"{name_taken()}. {way_out(collection_name())}")
        raise CollectionNotFound(collection_name())
    if not is_ours(target):
        raise StoreUnusable(not_ours(target))
    return target


def not_ours(target: str) -> str:
    """Return the error for an alias that another service created."""
    return (
        f"The alias {collection_name()!r} points to {target!r}, which is not one of {collection_name()}_v1, _v2 and so on:"
        " delete the alias, or set QDRANT_COLLECTION to another name, then run manage.py init_qdrant."
    )


def name_taken() -> str:
    """Return the error for a real collection with the alias's name. The guide's program creates such a collection."""
    return f"{collection_name()!r} is a real collection, but must be an alias"


def way_out(name: str) -> str:
    """Return the next steps for a real collection that has the alias's name."""
    deleting = (
        f"delete the folder {settings.QDRANT_PATH!r}"
        if is_embedded()
        else f"delete it (curl -X DELETE {settings.QDRANT_URL.rstrip('/')}/collections/{name})"
    )
    return (
        "Replace it with manage.py init_qdrant --adopt, or set QDRANT_COLLECTION to another name, or, if its points are no longer needed,"
        f" {deleting}; then run manage.py init_qdrant."
    )


def collection_names(client: QdrantClient) -> frozenset[str]:
    return frozenset(collection.name for collection in client.get_collections().collections)
