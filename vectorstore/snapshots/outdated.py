"""What a collection that came out of a snapshot says of people, and PostgreSQL does not say any more: it goes, so that only what is missing is
left to be written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

import numpy as np
from django.db import connection
from qdrant_client import QdrantClient
from qdrant_client.models import (
    ExtendedPointId,
    FieldCondition,
    Filter,
    FilterSelector,
    HasIdCondition,
    PointStruct,
    Range,
    Record,
    WriteOrdering,
)

from findme.console.progress import Report, unreported
from vectorstore.purge.removals import note_removal
from vectorstore.sync.claim import Claim
from vectorstore.sync.rows import points_of
from vectorstore.versions import version_of

PAGE_SIZE = 500
TOLERANCE = 1e-6
"""Of one number of a vector of length 1: more than 32 bits round."""
NOBODY = UUID(int=0)


def remove_outdated(client: QdrantClient, collection: str, report: Report = unreported) -> int:
    """Delete every point that is nobody's, or another than the person's rows make today, ages too; how many those were.

    For a collection that workers write already: what they have written since is newer than the version that is drawn here, and stays.
    """
    version = _next_version()
    seen = removed = 0
    total = client.count(collection, exact=False).count
    for page in _pages(client, collection):
        outdated = _outdated(page)
        if outdated:
            _delete(client, collection, outdated, version)
        seen, removed = seen + len(page), removed + len(outdated)
        report(min(seen, total), total)
    return removed


def _next_version() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval('vector_sync_version')")
        return int(cursor.fetchone()[0])


def _pages(client: QdrantClient, collection: str) -> Iterator[list[Record]]:
    offset = None
    while True:
        page, offset = client.scroll(collection, limit=PAGE_SIZE, offset=offset, with_payload=True, with_vectors=True)
        yield page
        if offset is None:
            return


def _outdated(page: Sequence[Record]) -> list[ExtendedPointId]:
    """A number is nobody's id."""
    people = frozenset(UUID(record.id) for record in page if isinstance(record.id, str))
    expected = {str(point.id): point for point in points_of(Claim(NOBODY, people, (), 0, ())).due}
    return [record.id for record in page if not _is(record, expected.get(str(record.id)))]


def _is(record: Record, point: PointStruct | None) -> bool:
    if point is None or version_of(record.payload) is None:
        return False
    return _without_version(record.payload) == _without_version(point.payload) and _are_close(record.vector, point.vector)


def _without_version(payload: dict[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (payload or {}).items() if name != "version"}


def _are_close(vector: object, expected: object) -> bool:
    """NaN is close to nothing."""
    if not isinstance(vector, list) or not isinstance(expected, list) or len(vector) != len(expected):
        return False
    return bool(np.allclose(np.array(vector), np.array(expected), rtol=0, atol=TOLERANCE))


def _delete(client: QdrantClient, collection: str, ids: list[ExtendedPointId], version: int) -> None:
    note_removal()
    newer = FieldCondition(key="version", range=Range(gte=version))
    gone = FilterSelector(filter=Filter(must=[HasIdCondition(has_id=ids)], must_not=[newer]))
    client.delete(collection, gone, wait=True, ordering=WriteOrdering.MEDIUM)
