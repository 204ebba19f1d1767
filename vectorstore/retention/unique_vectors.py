"""Vectors that exist only in Qdrant. Everything that deletes points or drops a collection asks this module first.

A vector is unique if PostgreSQL has its user, who is not deleted, has not objected and is not staff, but no embedding of the user, and if this
database did not write the point. The vector of a restricted user is not lost either: the user has a right that it stays (article 18). Workers write a point only from an embedding, with a version that they have allocated. So an allocated version proves that PostgreSQL
had the vector. Every other version proves nothing: none at all, one of another database, one that the sequence never reached or was set past.

Captured deletions, TRUNCATE and erasures remove points whatever their version (protocol, rule 1).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db import connection
from qdrant_client import QdrantClient
from qdrant_client.models import ExtendedPointId, Record

from findme.core.commands.progress import Report, ignore_progress
from findme.core.errors import UserFacingError
from findme.core.postgresql.arrays import uuid_array
from vectorstore.catalog.lock import keep_session
from vectorstore.catalog.ownership import ADOPTED_AT, ADOPTING, DATABASE, database_id
from vectorstore.consistency.versions import AllocatedVersions, allocated_versions, version_of
from vectorstore.qdrant.scroll import record_pages

FIELDS = ["version", "user_id"]
"""Of a payload, what the decision needs."""

PAGE_SIZE = 1000

WITHOUT_EMBEDDING = """
    SELECT id FROM users
    WHERE id = ANY(%s::uuid[]) AND deleted_at IS NULL AND objected_at IS NULL AND NOT is_staff
      AND NOT EXISTS (SELECT FROM profile_embeddings WHERE user_id = users.id)
      AND NOT EXISTS (SELECT FROM vector_sync_queue WHERE user_id = users.id AND cause = 'deletion')
"""
"""A captured deletion that is still on the queue decides: a worker is about to remove the point."""


class UniqueVectorsFound(UserFacingError):
    """More vectors would be lost than the operator allowed. ``count`` is their number."""

    def __init__(self, count: int, limit: int, *, what: str = "nothing was changed") -> None:
        self.count = count
        super().__init__(
            f"{points_hold(count)} the only copy of a user's vector and the limit is {limit:,}: {what}. Import them first (manage.py"
            f" import_embeddings), or rerun with --discard-vectors {count}."
        )


def points_hold(count: int) -> str:
    return "1 point holds" if count == 1 else f"{count:,} points hold"


class UniqueVectors:
    """Find the points of one collection that hold a unique vector.

    ``floor`` is the last version that another database may have written into the collection. None stands for a collection that is not, or not yet,
    this database's: no version in it was allocated here.
    """

    def __init__(self, floor: int | None) -> None:
        self.floor = floor
        self._allocated: AllocatedVersions | None = None

    @classmethod
    def of(cls, client: QdrantClient, collection: str) -> UniqueVectors:
        """For the collection as its metadata describe it now."""
        return cls(version_floor(client.get_collection(collection).config.metadata))

    def among(self, records: Sequence[Record]) -> list[ExtendedPointId]:
        """Return the ids of the points that hold one. ``records`` carry ``FIELDS``. One query for all that PostgreSQL has to decide."""
        suspects = [(record.id, users_of(record)) for record in records if not self.is_own(record.payload)]
        users = without_embedding(user for _, named in suspects for user in named)
        return [point_id for point_id, named in suspects if named & users]

    def is_own(self, payload: Mapping[str, Any] | None) -> bool:
        """Whether this database allocated the version in a point's payload. A point may be newer than what was read of the sequence before."""
        if self.floor is None:
            return False
        version = version_of(payload)
        if version is None or version <= self.floor:
            return False
        if self._allocated is None or version > self._allocated.last:
            self._allocated = allocated_versions()
        return version in self._allocated


def version_floor(metadata: dict[str, Any] | None) -> int | None:
    """Return the ``floor`` of ``UniqueVectors`` for a collection with these metadata."""
    known = metadata or {}
    floor = known.get(ADOPTED_AT, 0)
    if known.get(DATABASE) != database_id() or known.get(ADOPTING) or not isinstance(floor, int):
        return None
    return floor


def users_of(record: Record) -> frozenset[UUID]:
    """The users whose vector the point may hold: its id is one, and the payload of another program may name one."""
    named = (record.payload or {}).get("user_id")
    return frozenset(found for one in (record.id, named) if (found := _uuid(one)) is not None)


def without_embedding(users: Iterable[UUID]) -> frozenset[UUID]:
    """Those of the users that PostgreSQL has, neither deleted nor objecting nor staff, without a row in ``profile_embeddings`` or a deletion on the queue."""
    asked = frozenset(users)
    if not asked:
        return frozenset()
    with connection.cursor() as cursor:
        cursor.execute(WITHOUT_EMBEDDING, [uuid_array(asked)])
        return frozenset(row[0] for row in cursor.fetchall())


def unique_among(client: QdrantClient, collection: str, ids: Collection[ExtendedPointId]) -> list[ExtendedPointId]:
    """Return those of the points that hold a unique vector, as the collection is now."""
    if not ids:
        return []
    found = client.retrieve(collection, list(ids), with_payload=FIELDS, with_vectors=False)
    return unique_among_records(client, collection, found)


def unique_among_records(client: QdrantClient, collection: str, records: Sequence[Record]) -> list[ExtendedPointId]:
    """As ``unique_among``. PostgreSQL decides first here: of a few points most have a user who is deleted or unknown."""
    users = without_embedding(user for record in records for user in users_of(record))
    suspects = [record for record in records if users_of(record) & users]
    return UniqueVectors.of(client, collection).among(suspects) if suspects else []


def unique_in(collection: str, judge: UniqueVectors, report: Report = ignore_progress) -> Iterator[list[ExtendedPointId]]:
    """Read every point of the collection and yield those that hold a unique vector, a page at a time."""
    seen = 0
    for page in record_pages(collection, PAGE_SIZE, with_payload=FIELDS, with_vectors=False):
        keep_session()
        seen += len(page)
        yield judge.among(page)
        report(seen)


class DiscardLimit:
    """How many unique vectors a command may delete, in all the collections that it touches together."""

    def __init__(self, limit: int = 0) -> None:
        self.limit = limit
        self.counts: dict[str, int] = {}

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def count(self, collection: str, judge: UniqueVectors, report: Report = ignore_progress) -> int:
        """Count the unique vectors of a collection. Counting it again replaces the number."""
        self.counts[collection] = sum(map(len, unique_in(collection, judge, report)))
        return self.counts[collection]

    def require(self, what: str = "nothing was changed") -> None:
        """Raise UniqueVectorsFound if there are more of them than may be deleted."""
        if self.total > self.limit:
            raise UniqueVectorsFound(self.total, self.limit, what=what)


def _uuid(value: object) -> UUID | None:
    try:
        return UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None
