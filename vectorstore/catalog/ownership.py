"""Ownership of collections: their metadata contain the id of the database that they project (protocol rule 8)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from typing import Any

from qdrant_client import QdrantClient
from qdrant_client.models import CollectionInfo

from findme.core.errors import UserFacingError
from vectorstore.models import StoreState, VectorCollection

DATABASE, VERSION, DEFINITION_HASH, APP_VERSION, DEFINED_AT = (
    "findme_database",
    "findme_version",
    "findme_definition",
    "findme_app_version",
    "findme_defined_at",
)
"""Keys of a collection's metadata."""

ADOPTING = "findme_adopting"
"""Metadata key of a collection whose adoption was started and is not finished. It is absent afterwards."""

EARLIER_KEYS = ("findme_mark", "findme_declaration", "findme_declared_at", "findme_release")
"""Metadata keys of a version before the first release. They are no longer read, so its checkpoint cannot be compared."""

ADOPTED_AT = "findme_adopted_at_version"
"""Metadata key for the version of this database's sequence at the adoption. Versions up to it may come from another database."""


class ForeignCollection(UserFacingError):
    """The collection belongs to another database, or its metadata name none."""


def metadata_of(row: VectorCollection) -> dict[str, Any]:
    """Return the metadata for the collection of ``row``.

    They contain the id of its database, the number in its name, the hash of its definition, and the version and time of that definition.
    """
    return {
        DATABASE: database_id(),
        VERSION: int(row.name.rpartition("_v")[2]),
        DEFINITION_HASH: row.definition_hash,
        APP_VERSION: row.app_version,
        DEFINED_AT: row.defined_at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
    }


def database_id() -> str:
    return str(StoreState.current().database_id)


def check_owner(client: QdrantClient, collection: str) -> None:
    """Raise ForeignCollection, which names ``init_qdrant --adopt``, if ``ownership_problem`` finds one."""
    problem = ownership_problem(client, collection, client.get_collection(collection))
    if problem is not None:
        raise ForeignCollection(f"{problem}: nothing was written. {way_out()}")


def ownership_problem(client: QdrantClient, collection: str, found: CollectionInfo) -> str | None:
    """Return why the collection must not be written, or None if it may. ``found`` is Qdrant's information about it.

    A collection must not be written if it belongs to another database, if it has points and no owner, or if its adoption is not finished.
    """
    metadata = found.config.metadata or {}
    _require_current_keys(collection, metadata)
    owner: Any = metadata.get(DATABASE)
    if owner is None:
        return None if _is_empty(client, collection) else f"The collection {collection!r} has points, but no owner in its metadata"
    if owner != database_id():
        return f"The collection {collection!r} belongs to another database ({owner!r})"
    if metadata.get(ADOPTING):
        return f"The adoption of the collection {collection!r} is not finished"
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
    """Return whether the collection has no point. Qdrant's count may still include deleted points, so read one."""
    return not client.scroll(collection, limit=1, with_payload=False, with_vectors=False)[0]
