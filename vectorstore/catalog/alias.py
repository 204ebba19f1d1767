"""The alias and the row that says where it leads. They cannot change in one transaction, so what is about to happen is written down first, then the
alias moves, then the rows follow it; whoever comes after a death in between only has to look where the alias leads."""

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
    """Raises CollectionNotFound (a StoreUnavailable) where there is no alias any more, and UserFacingError where it leads to a collection
    that nobody has noted: that one is searched then, and not written. If that collection is not this database's, the error is
    ForeignCollection.

    One that is written is followed by whoever is idle, and one that was marked as failed at once: it is searched, and not written either. While somebody makes
    or moves collections there is nothing to say.
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
            f"The alias {collection_name()!r} leads to {target!r}, which is not noted in PostgreSQL, so it is searched and not written: run"
            " manage.py init_qdrant, which notes it and queues everybody; or move the alias back."
        )


def _is_write_target(target: str | None) -> bool:
    return registry.rows().write_targets().filter(name=target).exists()


def switch_alias(client: QdrantClient, target: str, *, retain: timedelta | None = AT_ONCE) -> str | None:
    """Move the alias to TARGET, which has passed the acceptance check, in one step; the collection that it led to, which is retained for
    RETAIN (None: until somebody drops it).

    Only under ``collection_lock``. Raises UserFacingError where TARGET has failed meanwhile, or the alias does not lead to it afterwards.
    """
    before = alias_target(client)
    prepare(target, retain)
    client.update_collection_aliases(_moves(before, target), timeout=whole_timeout_seconds())
    after = alias_target(client)
    if after != target:
        raise UserFacingError(
            f"Qdrant says that the alias {collection_name()!r} was moved, and it leads to {after!r}: look at its log, and run it again."
        )
    registry.reconcile(target)
    return before


def prepare(target: str, retain: timedelta | None) -> None:
    """The alias is about to be moved to TARGET. Raises UserFacingError where TARGET has failed meanwhile."""
    if not registry.prepare(target, retain):
        raise UserFacingError(f"{target!r} was marked as failed while it was being compared: see why in the admin, and run it again.")


def _moves(before: str | None, target: str) -> list[AliasOperations]:
    create = CreateAliasOperation(create_alias=CreateAlias(collection_name=target, alias_name=collection_name()))
    delete = DeleteAliasOperation(delete_alias=DeleteAlias(alias_name=collection_name()))
    return [create] if before is None else [delete, create]


def reconcile_alias(client: QdrantClient) -> bool:
    """Bring the rows after the alias, for whoever comes after a death in between; whether they were behind.

    Under ``collection_lock``. An alias that leads to what nobody has noted is ``init_qdrant``'s to note.
    """
    target = alias_target(client)
    try:
        return target is not None and registry.reconcile(target)
    except VectorCollection.DoesNotExist:
        return False


def reconcile_alias_if_stale(client: QdrantClient) -> bool:
    """As a worker does it, now and then: without waiting for whoever is just moving the alias, who will see to it."""
    if alias_target(client) == registry.live() or not advisory_lock().try_acquire():
        return False
    try:
        return reconcile_alias(client)
    finally:
        advisory_lock().release()


def first_collection() -> str:
    """The real collection that is made where there is none."""
    return f"{collection_name()}_v1"


def is_ours(collection: str) -> bool:
    """Whether a real collection is one of those that the alias is meant for."""
    return re.fullmatch(rf"{re.escape(collection_name())}_v[1-9][0-9]*", collection) is not None


def alias_target(client: QdrantClient) -> str | None:
    """The collection that everybody searches; None where there is no alias."""
    return next((alias.collection_name for alias in client.get_aliases().aliases if alias.alias_name == collection_name()), None)


def live_collection(client: QdrantClient) -> str:
    """The real collection behind the alias, for everything that writes or searches.

    Raises CollectionNotFound, which names ``init_qdrant``; StoreUnusable where the alias leads to somebody else's collection, and where a
    real collection has its name.
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
    """The line for an alias that somebody else made."""
    return (
        f"The alias {collection_name()!r} leads to {target!r}, which is not one of {collection_name()}_v1, _v2 and so on:"
        " delete the alias, or set QDRANT_COLLECTION to another name, then run manage.py init_qdrant."
    )


def name_taken() -> str:
    """What is wrong where a real collection has the alias's name, as one that was made by the guide's program has."""
    return f"{collection_name()!r} is a real collection, and is to be an alias"


def way_out(name: str) -> str:
    """What to do about a real collection that bears the alias's name."""
    deleting = (
        f"delete the folder {settings.QDRANT_PATH!r}"
        if is_embedded()
        else f"delete it (curl -X DELETE {settings.QDRANT_URL.rstrip('/')}/collections/{name})"
    )
    return (
        "Put one that is made from PostgreSQL in its place with manage.py init_qdrant --adopt, or set QDRANT_COLLECTION to another name, or, when"
        f" nobody needs its points any more, {deleting}; then run manage.py init_qdrant."
    )


def collection_names(client: QdrantClient) -> frozenset[str]:
    return frozenset(collection.name for collection in client.get_collections().collections)
