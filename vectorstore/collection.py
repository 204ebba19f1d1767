"""What the collection must look like: the guide's vectors, graph, thresholds and indexes, under an alias that everyone goes through."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from django.conf import settings
from pydantic import BaseModel
from qdrant_client import QdrantClient
from qdrant_client.models import CollectionInfo, Distance, IntegerIndexParams, IntegerIndexType, PayloadSchemaType

from findme.console.errors import StoreUnavailable
from vectorstore.connection import collection_name, is_embedded
from vectorstore.errors import CollectionMissing
from vectorstore.models import VECTOR_SIZE


@dataclass(frozen=True, slots=True)
class Declaration:
    """One unnamed vector, as other services search it. Qdrant counts ``full_scan_threshold`` and ``indexing_threshold`` in kilobytes of vectors
    a segment: 10000 is about 5,000 vectors of 512 numbers."""

    size: int
    distance: Distance
    hnsw: Mapping[str, int]
    optimizers: Mapping[str, int]
    payload_indexes: Mapping[str, PayloadSchemaType | IntegerIndexParams]

    def hash(self) -> str:
        """SHA-256, in hexadecimal: two collections with the same one were declared alike."""
        return hashlib.sha256(json.dumps(_plain(self), sort_keys=True).encode()).hexdigest()


def _plain(value: object) -> object:
    """JSON of a declaration, or of a part of it."""
    match value:
        case Declaration():
            return {part.name: _plain(getattr(value, part.name)) for part in fields(value)}
        case BaseModel():
            return value.model_dump(mode="json", exclude_none=True)
        case Mapping():
            return {str(name): _plain(part) for name, part in value.items()}
    return value


DECLARATION = Declaration(
    size=VECTOR_SIZE,
    distance=Distance.COSINE,
    hnsw={"m": 16, "ef_construct": 100, "full_scan_threshold": 10000},
    optimizers={"indexing_threshold": 10000},
    # What a search filters by. Not user_id, which is the point's id and is filtered by as such; created_at and video_features are read only.
    payload_indexes={
        "gender": PayloadSchemaType.KEYWORD,
        "age": PayloadSchemaType.INTEGER,
        "age_group": PayloadSchemaType.KEYWORD,
        "active": PayloadSchemaType.BOOL,
        "verified": PayloadSchemaType.BOOL,
        "location": PayloadSchemaType.GEO,
        "interests": PayloadSchemaType.KEYWORD,
        # What guards every write against the past.
        "version": IntegerIndexParams(type=IntegerIndexType.INTEGER, lookup=False, range=True),
    },
)


def first_collection() -> str:
    """The real collection that is made where there is none."""
    return f"{collection_name()}_v1"


def is_ours(collection: str) -> bool:
    """Whether a real collection is one of those that the alias is meant for."""
    return re.fullmatch(rf"{re.escape(collection_name())}_v[1-9][0-9]*", collection) is not None


@dataclass(frozen=True, slots=True)
class Live:
    """What Qdrant has: whether a real collection bears the alias's name, where the alias leads to, and the collection to compare."""

    name_taken: bool
    alias_of: str | None
    collection: str
    found: CollectionInfo | None = field(repr=False)


def read_live(client: QdrantClient) -> Live:
    """Everything that is there, read in full."""
    names = _names(client)
    alias_of = _target_of_alias(client)
    name = alias_of or first_collection()
    return Live(collection_name() in names, alias_of, name, client.get_collection(name) if name in names else None)


def live_collection(client: QdrantClient) -> str:
    """The real collection behind the alias, for everything that writes or searches.

    Raises CollectionMissing, which names ``init_qdrant``; StoreUnavailable where the alias leads to somebody else's collection, and where a
    real collection has its name.
    """
    target = _target_of_alias(client)
    if target is None:
        if collection_name() in _names(client):
            raise StoreUnavailable(f"{name_taken()}. {way_out(collection_name())}")
        raise CollectionMissing(collection_name())
    if not is_ours(target):
        raise StoreUnavailable(not_ours(target))
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
    """What to do about a collection of this name that is none of ours, or that cannot become what is declared."""
    deleting = (
        f"delete the folder {settings.QDRANT_PATH!r}"
        if is_embedded()
        else f"delete it (curl -X DELETE {settings.QDRANT_URL.rstrip('/')}/collections/{name})"
    )
    return (
        f"Set QDRANT_COLLECTION to another name, or, when nobody needs its points any more, {deleting};"
        " then run manage.py init_qdrant, and manage.py sync_qdrant --once, which fills the new one from PostgreSQL."
    )


def _names(client: QdrantClient) -> set[str]:
    return {collection.name for collection in client.get_collections().collections}


def _target_of_alias(client: QdrantClient) -> str | None:
    return next((alias.collection_name for alias in client.get_aliases().aliases if alias.alias_name == collection_name()), None)
