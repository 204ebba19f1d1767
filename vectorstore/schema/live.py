"""The alias that everyone goes through, and the real collection behind it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from django.conf import settings
from qdrant_client import QdrantClient
from qdrant_client.models import CollectionInfo

from findme.core.errors import StoreUnusable
from vectorstore.catalog import registry
from vectorstore.catalog.cluster import missing_copies
from vectorstore.catalog.ownership import doubt_about
from vectorstore.models import VectorCollection
from vectorstore.qdrant.connection import collection_name, is_embedded
from vectorstore.qdrant.errors import CollectionMissing
from vectorstore.schema.definition import DECLARATION as DECLARATION


def first_collection() -> str:
    """The real collection that is made where there is none."""
    return f"{collection_name()}_v1"


def is_ours(collection: str) -> bool:
    """Whether a real collection is one of those that the alias is meant for."""
    return re.fullmatch(rf"{re.escape(collection_name())}_v[1-9][0-9]*", collection) is not None


@dataclass(frozen=True, slots=True)
class Live:
    """What Qdrant has: the names of all collections, where the alias leads to, and the collection to compare; what speaks against its being ours;
    the rows of the alias in PostgreSQL, by name; and how many copies there are of the shards that have too few."""

    names: frozenset[str]
    alias_of: str | None
    collection: str
    found: CollectionInfo | None = field(repr=False)
    doubt: str | None
    rows: dict[str, VectorCollection]
    missing_copies: dict[int, int]

    @property
    def name_taken(self) -> bool:
        """Whether a real collection bears the alias's name."""
        return collection_name() in self.names


def read_live(client: QdrantClient) -> Live:
    """Everything that is there, read in full."""
    names = _names(client)
    alias_of = alias_target(client)
    rows = {row.name: row for row in registry.rows()}
    name = alias_of or _without_alias(names, rows)
    found = read_in_full(client, name) if name in names else None
    doubt = doubt_about(client, name, found) if found else None
    return Live(names, alias_of, name, found, doubt, rows, missing_copies(client, name) if found else {})


def read_in_full(client: QdrantClient, collection: str) -> CollectionInfo:
    """By REST, whatever the rest goes by: gRPC leaves some of the settings out."""
    if is_embedded():
        return client.get_collection(collection)
    found = client.http.collections_api.get_collection(collection).result
    assert found is not None
    return found


def _without_alias(names: frozenset[str], rows: dict[str, VectorCollection]) -> str:
    """The collection that the alias led to, or was just going to, when it was lost; or the newest that is kept, where that one is gone as well; or
    else the first one."""
    states = (VectorCollection.State.READY, VectorCollection.State.LIVE, VectorCollection.State.KEPT)
    newest_first = sorted(names & rows.keys(), key=registry.number_of, reverse=True)
    known = [name for state in states for name in newest_first if rows[name].state == state]
    return known[0] if known else first_collection()


def alias_target(client: QdrantClient) -> str | None:
    """The collection that everybody searches; None where there is no alias."""
    return next((alias.collection_name for alias in client.get_aliases().aliases if alias.alias_name == collection_name()), None)


def live_collection(client: QdrantClient) -> str:
    """The real collection behind the alias, for everything that writes or searches.

    Raises CollectionMissing, which names ``init_qdrant``; StoreUnusable where the alias leads to somebody else's collection, and where a
    real collection has its name.
    """
    target = alias_target(client)
    if target is None:
        if collection_name() in _names(client):
            raise StoreUnusable(f"{name_taken()}. {way_out(collection_name())}")
        raise CollectionMissing(collection_name())
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


def _names(client: QdrantClient) -> frozenset[str]:
    return frozenset(collection.name for collection in client.get_collections().collections)
