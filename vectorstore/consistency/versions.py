"""Versions of points: those that PostgreSQL allocated and those in the collections (protocol rules 4 and 9)."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

from django.db import connection
from qdrant_client import QdrantClient
from qdrant_client.models import CollectionInfo, Direction, ExtendedPointId, OrderBy, PayloadSchemaType, Record

from vectorstore.models import StoreState
from vectorstore.qdrant.connection import is_embedded
from vectorstore.qdrant.scroll import record_pages
from vectorstore.queue.transactions import short_transaction

Newest: TypeAlias = list[tuple[ExtendedPointId, int]]
"""Points with their versions, the highest version first."""

TOO_HIGH = 2**53
"""Qdrant compares versions as doubles, which are not distinct from this value on."""

MAX_UNALLOCATED = TOO_HIGH // 2
"""A version from this value on that was not allocated comes from another program.

The sequence is not set above such a version, so it never comes near ``TOO_HIGH``.
"""

MARGIN = 1_000_000
"""Added when the sequence is set: more than all workers allocate between reading and setting it."""

PAGE_SIZE = 1000


def version_of(payload: Mapping[str, Any] | None) -> int | None:
    """Return the version of a point, or None if no worker can have written it."""
    version = (payload or {}).get("version")
    if not isinstance(version, int) or isinstance(version, bool) or not 0 <= version < TOO_HIGH:
        return None
    return version if version < MAX_UNALLOCATED or version <= last_allocated() else None


def has_unbeatable_version(payload: Mapping[str, Any] | None) -> bool:
    """Return whether the point may look newer than every write, although no worker can have written its version.

    In a list, Qdrant compares each number.
    """
    return version_of(payload) is None and isinstance((payload or {}).get("version"), int | float | list)


def allocate_version() -> int:
    """Allocate a version. A rollback does not return it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval('vector_sync_version')")
        return int(cursor.fetchone()[0])


def last_allocated() -> int:
    """Return the last version that any process allocated. Sequences are outside transactions: this sees uncommitted allocations too."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM vector_sync_version")
        return int(cursor.fetchone()[0])


def raise_above(version: int) -> bool:
    """Make sure that every version allocated from now on is above ``version``. Return whether the sequence was set.

    If other processes allocate versions between the read and ``setval``, it would set the sequence back. The margin and the row lock prevent that.
    """
    target = version + MARGIN
    if not _note_skipped(version, target):
        return False
    with short_transaction() as cursor:
        cursor.execute("SELECT FROM vector_store_state FOR UPDATE")
        if last_allocated() < target:
            cursor.execute("SELECT setval('vector_sync_version', %s)", [target])
        return True


def _note_skipped(version: int, target: int) -> bool:
    """Record the versions that the sequence is about to skip. Return False if it is above ``version`` already.

    This is committed before ``setval``, which cannot be rolled back. If the process is killed between the two, too many skipped versions are recorded,
    never too few.
    """
    StoreState.current()
    with short_transaction() as cursor:
        cursor.execute("SELECT FROM vector_store_state FOR UPDATE")
        last = last_allocated()
        if last >= version:
            return False
        cursor.execute("UPDATE vector_store_state SET skipped_versions = skipped_versions || %s::jsonb", [json.dumps([[last + 1, target]])])
        return True


@dataclass(frozen=True, slots=True)
class AllocatedVersions:
    """The versions that this database allocated: from 1 to ``last``, without the ``skipped`` ranges."""

    last: int
    skipped: tuple[tuple[int, int], ...]

    def __contains__(self, version: int) -> bool:
        return 1 <= version <= self.last and not any(low <= version <= high for low, high in self.skipped)


def allocated_versions() -> AllocatedVersions:
    """Return the allocated versions. The sequence is read before the ranges, because the ranges are committed before the sequence is set."""
    last = last_allocated()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (skipped ->> 0)::bigint, (skipped ->> 1)::bigint FROM vector_store_state, jsonb_array_elements(skipped_versions) AS skipped"
        )
        return AllocatedVersions(last, tuple((low, high) for low, high in cursor.fetchall()))


def newest(client: QdrantClient, collection: str, found: CollectionInfo, limit: int = 1) -> Newest:
    """Return the points with the highest versions that a worker can have written.

    ``found`` is Qdrant's information about the collection. On a server without an index on ``version``, this reads all points.
    """
    records = _first(client, collection, limit) if _can_be_sorted(found) else _every(collection)
    versions = ((version, str(record.id), record.id) for record in records if (version := version_of(record.payload)) is not None)
    return [(point_id, version) for version, _, point_id in heapq.nlargest(limit, versions)]


def highest(client: QdrantClient, collection: str) -> int:
    """Return the highest version in the collection, 0 if no point has one."""
    return next((version for _, version in newest(client, collection, client.get_collection(collection))), 0)


def _can_be_sorted(found: CollectionInfo) -> bool:
    index = found.payload_schema.get("version")
    return is_embedded() or (index is not None and index.data_type == PayloadSchemaType.INTEGER)


def _first(client: QdrantClient, collection: str, limit: int) -> list[Record]:
    order = OrderBy(key="version", direction=Direction.DESC, start_from=max(MAX_UNALLOCATED - 1, last_allocated()))
    return client.scroll(collection, order_by=order, limit=limit, with_payload=["version"], with_vectors=False)[0]


def _every(collection: str) -> Iterable[Record]:
    return chain.from_iterable(record_pages(collection, PAGE_SIZE, with_payload=["version"], with_vectors=False))
