"""Points of users in all collections: looked up, read back after a removal by id and by search, and found by a scan."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from uuid import UUID

from qdrant_client import QdrantClient
from qdrant_client.models import ExtendedPointId, Filter, HasIdCondition

from vectorstore.catalog import registry
from vectorstore.catalog.alias import live_collection
from vectorstore.catalog.secondary import fail_secondary_on_error
from vectorstore.models import VECTOR_SIZE
from vectorstore.qdrant.connection import is_embedded, qdrant
from vectorstore.qdrant.scroll import record_pages
from vectorstore.qdrant.write import versions_of
from vectorstore.retention.drop import is_foreign
from vectorstore.retention.unique_vectors import users_of

PAGE_SIZE = 2000
"""Points read in one page of a scan, without vectors and with one field of the payload."""

ANY_VECTOR = [1.0, *[0.0] * (VECTOR_SIZE - 1)]


def has_point(user_id: UUID) -> bool:
    """Return whether any collection that receives deletions has the point of the user. Raises StoreUnavailable."""
    return bool(collections_having(user_id))


def collections_having(user_id: UUID) -> list[str]:
    """Return the collections that receive deletions and have the point of the user, by id. Raises StoreUnavailable."""
    return _collections_where(lambda client, collection: _is_found_by_id(client, collection, [user_id]))


def collections_with_point(*user_ids: UUID) -> list[str]:
    """Return the collections that still have a point of the users, by id and by search. Raises StoreUnavailable.

    A secondary collection that answers with an error is marked as failed, as workers do. It is not served any more, and ``scan_for_users`` reads it until
    it is dropped.
    """
    return _collections_where(lambda client, collection: _is_found(client, collection, user_ids))


def scan_for_users(user_ids: Collection[UUID]) -> frozenset[UUID]:
    """Read all points of all collections. Return those of the users that a point's id or its ``user_id`` names.

    Collections that are marked as failed and not dropped yet are read too. ``user_id`` has no payload index, so Qdrant cannot search for it.
    Raises StoreUnavailable, also if a secondary collection cannot be read.
    """
    wanted = frozenset(user_ids)
    found: set[UUID] = set()
    for collection in _own_collections():
        for page in record_pages(collection, PAGE_SIZE, with_payload=["user_id"], with_vectors=False):
            found.update(user for record in page for user in users_of(record) & wanted)
    return frozenset(found)


def _own_collections() -> list[str]:
    """Return the collections of this database that exist, the live one first."""
    with qdrant() as client:
        live = live_collection(client)
        others = [name for name in registry.all_but_live() if name != live]
        return [live, *(name for name in others if client.collection_exists(name) and not is_foreign(client, name))]


def _collections_where(condition: Callable[[QdrantClient, str], bool]) -> list[str]:
    """Return the collections that receive deletions and for which the condition is true. The live one is asked first."""
    with qdrant() as client:
        live = live_collection(client)
        found = [live] if condition(client, live) else []
        for collection in (name for name in registry.deletion_targets() if name != live):
            with fail_secondary_on_error(collection, doing="reading"), qdrant():
                if condition(client, collection):
                    found.append(collection)
    return found


def _is_found(client: QdrantClient, collection: str, user_ids: Sequence[UUID]) -> bool:
    return _is_found_by_id(client, collection, user_ids) or is_found_by_search(client, collection, user_ids)


def is_found_by_search(client: QdrantClient, collection: str, user_ids: Sequence[UUID]) -> bool:
    """Return whether Qdrant finds a point of the users by a scroll or by a search. Raise the driver's errors.

    The embedded store answers both from the same list, and a search would compare every vector. A copy may have other vectors.
    """
    point = Filter(must=[HasIdCondition(has_id=[str(user_id) for user_id in user_ids])])
    if client.scroll(collection, scroll_filter=point, limit=1, with_payload=False, with_vectors=False)[0]:
        return True
    if is_embedded() or collection == registry.copy_name():
        return False
    return bool(client.query_points(collection, query=ANY_VECTOR, query_filter=point, limit=1, with_payload=False).points)


def _is_found_by_id(client: QdrantClient, collection: str, user_ids: Sequence[UUID]) -> bool:
    ids: list[ExtendedPointId] = [str(user_id) for user_id in user_ids]
    return bool(versions_of(client, collection, ids))
