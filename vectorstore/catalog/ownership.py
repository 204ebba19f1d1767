"""Whose collection it is: its metadata carry the id of the database that it projects (protocol, rule 8)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from typing import Any

from qdrant_client import QdrantClient
from qdrant_client.models import CollectionInfo

from findme.core.errors import UserFacingError
from vectorstore.models import StoreState, VectorCollection

DATABASE, VERSION, DECLARED, RELEASE, DECLARED_AT = (
    "findme_database",
    "findme_version",
    "findme_definition",
    "findme_app_version",
    "findme_defined_at",
)
ADOPTING = "findme_adopting"
"""Of a collection's metadata. The last one says that an adoption was begun and not finished; it is absent afterwards."""

EARLIER_KEYS = ("findme_mark", "findme_declaration", "findme_declared_at", "findme_release")
"""Of a collection's metadata: what a version before the first release wrote. They are no longer read, so its checkpoint cannot be compared."""

ADOPTED_AT = "findme_adopted_at_version"
"""Of a collection's metadata: the version of this database's sequence when the collection was adopted. Versions up to it may be another database's."""


class ForeignCollection(UserFacingError):
    """The collection is another database's, or does not say whose it is."""


def metadata_of(row: VectorCollection) -> dict[str, Any]:
    """What a collection says of itself, as PostgreSQL has it: whose it is, the number in its name, and as what it was defined, by whom and when."""
    return {
        DATABASE: database_id(),
        VERSION: int(row.name.rpartition("_v")[2]),
        DECLARED: row.definition_hash,
        RELEASE: row.app_version,
        DECLARED_AT: row.defined_at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
    }


def database_id() -> str:
    return str(StoreState.current().database_id)


def check_owner(client: QdrantClient, collection: str) -> None:
    """Raises ForeignCollection, naming ``init_qdrant --adopt``, where the collection is another database's, or has points and does not say
    whose it is."""
    problem = ownership_problem(client, collection, client.get_collection(collection))
    if problem is not None:
        raise ForeignCollection(f"{problem}: nothing was written. {way_out()}")


def ownership_problem(client: QdrantClient, collection: str, found: CollectionInfo) -> str | None:
    """Why the collection, of which FOUND is what Qdrant says, may not be written; None where nothing speaks against it."""
    metadata = found.config.metadata or {}
    _require_current_keys(collection, metadata)
    owner: Any = metadata.get(DATABASE)
    if owner is None:
        return None if _is_empty(client, collection) else f"The collection {collection!r} has points, and does not say whose it is"
    if owner != database_id():
        return f"The collection {collection!r} belongs to another database ({owner!r})"
    if metadata.get(ADOPTING):
        return f"The collection {collection!r} was adopted only in part"
    return None


def _require_current_keys(collection: str, metadata: Mapping[str, Any]) -> None:
    """Raise ForeignCollection for a collection of an earlier version.

    It cannot be adopted: without a checkpoint nothing shows that it may hold users who were erased since.
    """
    earlier = next((key for key in EARLIER_KEYS if metadata.get(key) is not None), None)
    if earlier is not None:
        raise ForeignCollection(
            f"The collection {collection!r} was created by an earlier version (its metadata has {earlier!r}): nothing was changed. Set QDRANT_COLLECTION"
            " to another name, then run manage.py init_qdrant."
        )


def way_out() -> str:
    return "Adopt it with manage.py init_qdrant --adopt, or set QDRANT_COLLECTION to another name."


def _is_empty(client: QdrantClient, collection: str) -> bool:
    """By looking for one: Qdrant's count may be of deleted points still."""
    return not client.scroll(collection, limit=1, with_payload=False, with_vectors=False)[0]
