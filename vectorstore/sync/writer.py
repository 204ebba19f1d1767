"""Writing a claim's points into every collection, with conditional writes, and reading them back (protocol, rules 4, 5, 6, 10 and 11)."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from qdrant_client import QdrantClient
from qdrant_client.models import ExtendedPointId, Record, VectorParams

from findme.core.errors import StoreUnavailable, one_line
from findme.core.plurals import counted
from vectorstore.catalog.secondary import fail_secondary, fail_secondary_on_error
from vectorstore.consistency.checkpoint import unallocated_version
from vectorstore.consistency.versions import has_unbeatable_version, last_allocated, version_of
from vectorstore.models import VECTOR_SIZE
from vectorstore.projection.ages import disbelieve_days_after
from vectorstore.projection.points import Points, points_of
from vectorstore.qdrant import write as conditional_write
from vectorstore.qdrant.connection import qdrant
from vectorstore.qdrant.errors import RequestRejected, RestoreDetected
from vectorstore.qdrant.write import Point
from vectorstore.queue.deletions import note_removal
from vectorstore.retention.unique_vectors import FIELDS, points_hold, unique_among_records
from vectorstore.sync.claims import Claim
from vectorstore.sync.leases import renew
from vectorstore.sync.results import BatchResult, RejectedUser

log = logging.getLogger(__name__)

NO_POINT = "no point can be made of its rows: correct its vector (512 numbers with a direction) or its dates (of the years 1 to 9999)"

SUSPICIOUSLY_MANY = 16
"""People of whom a batch consists, and who are refused one and all: that is no person's fault."""


def write(claim: Claim) -> BatchResult:
    """Read the people's current rows; write and delete their points in each collection of the claim, the live one first.

    Raises StoreUnavailable, and LeaseLost: what was sent may or may not be done then, or may still be done. A secondary collection
    that answers with an error is marked as failed, and holds nobody up.
    """
    points = points_of(claim)
    if points.day is not None:
        disbelieve_days_after(points.day)
    unusable = tuple(RejectedUser(user, claim.collections[0], NO_POINT) for user in points.unusable)
    live, *others = claim.collections
    writer = _CollectionWriter(claim, live)
    writer.apply(points)
    unique = writer.unique_vectors
    for collection in others:
        unique += _write_secondary(claim, collection, points, {user.user_id for user in writer.rejected})
    return BatchResult(
        written=len(points.due) - len(writer.rejected),
        removed=writer.removed,
        rejected=(*unusable, *writer.rejected),
        unique_vectors=unique,
        sent_at=writer.sent_at,
    )


def _write_secondary(claim: Claim, collection: str, points: Points, rejected: set[UUID]) -> int:
    """Write one secondary collection, and return how many points hold a unique vector.

    The collection does not fail for users whom the live one has ``rejected`` as well.
    """
    writer = _CollectionWriter(claim, collection)
    with fail_secondary_on_error(collection):
        writer.apply(points)
    for user in writer.rejected:
        if user.user_id not in rejected:
            fail_secondary(collection, StoreUnavailable(user.reason))
    return writer.unique_vectors


class _CollectionWriter:
    """Write one claim to one collection."""

    def __init__(self, claim: Claim, collection: str) -> None:
        self.claim, self.collection = claim, collection
        self.rejected: list[RejectedUser] = []
        self.removed = self.unique_vectors = 0
        self.sent_at: datetime | None = None

    def apply(self, points: Points) -> None:
        self.write(points.due)
        if len(self.rejected) == len(points.due) >= SUSPICIOUSLY_MANY:
            raise RequestRejected(self.rejected[0].reason)
        self.delete([str(user) for user in (*points.gone, *points.unusable)])

    def write(self, points: Sequence[Point]) -> None:
        """A batch that is refused is split, until it is known whose data are refused."""
        if not points:
            return
        try:
            with qdrant() as client:
                self._upsert(client, points)
                if unbeatable := self._prove_written(client, points):
                    self._clear(client, unbeatable)
                    self._upsert(client, [point for point in points if point.id in unbeatable])
                    if still := self._prove_written(client, points):
                        raise self._not_as_sent(len(still), len(points))
        except RequestRejected as error:
            self._prove_fit(error)
            if len(points) == 1:
                self.rejected.append(RejectedUser(UUID(points[0].id), self.collection, one_line(error)))
                return
            middle = len(points) // 2
            self.write(points[:middle])
            self.write(points[middle:])

    def delete(self, ids: Sequence[ExtendedPointId]) -> None:
        """Also what does not seem to be there: an upsert of somebody's may have been applied since. But no unique vector, unless its user's deletion was
        captured."""
        if not ids:
            return
        with qdrant() as client:
            found = client.retrieve(self.collection, list(ids), with_payload=FIELDS, with_vectors=False)
            unique = self._unique(client, found)
            self.removed = len(found) - len(unique)
            if not (ids := [point_id for point_id in ids if point_id not in unique]):
                return
            if self.removed:
                note_removal()
            self.sent_at = renew(self.claim)
            conditional_write.delete(client, self.collection, ids, self.claim.version)
            if unbeatable := self._prove_deleted(client, ids):
                self._clear(client, unbeatable)
                if still := self._prove_deleted(client, ids):
                    raise self._not_deleted(len(still), len(ids))

    def _unique(self, client: QdrantClient, found: Sequence[Record]) -> set[ExtendedPointId]:
        """The points that stay where they are."""
        deletions = self.claim.deletions
        unique = unique_among_records(client, self.collection, [record for record in found if UUID(str(record.id)) not in deletions])
        if unique:
            self.unique_vectors += len(unique)
            log.warning("%s the only copy of a user's vector in %s and were not deleted.", points_hold(len(unique)), self.collection)
        return set(unique)

    def _upsert(self, client: QdrantClient, points: Sequence[Point]) -> None:
        self.sent_at = renew(self.claim)
        conditional_write.upsert(client, self.collection, points, self.claim.version)

    def _clear(self, client: QdrantClient, ids: Collection[ExtendedPointId]) -> None:
        """Another program wrote them, with versions that nobody allocated: they would stay for ever, and so would their people on the queue."""
        log.warning("%s points in %s have a version that no worker can have written: they are deleted.", len(ids), self.collection)
        note_removal()
        self.sent_at = renew(self.claim)
        conditional_write.clear(client, self.collection, list(ids))

    def _prove_fit(self, error: RequestRejected) -> None:
        """A collection that takes nobody's vector says nothing about a person."""
        with qdrant() as client:
            vectors = client.get_collection(self.collection).config.params.vectors
        if not isinstance(vectors, VectorParams) or vectors.size != VECTOR_SIZE:
            raise error

    def _prove_written(self, client: QdrantClient, points: Sequence[Point]) -> set[ExtendedPointId]:
        """An answer is no proof. Counting is nearly free; where the count is short, a later version may be there already, or an unbeatable one:
        whose those are."""
        ids: list[ExtendedPointId] = [point.id for point in points]
        if conditional_write.count_of(client, self.collection, ids, self.claim.version) == len(points):
            return set()
        there, unbeatable = self._versions(client, ids)
        short = sum(there.get(point_id, -1) < self.claim.version for point_id in ids if point_id not in unbeatable)
        if short:
            raise self._not_as_sent(short, len(points))
        return unbeatable

    def _prove_deleted(self, client: QdrantClient, ids: Sequence[ExtendedPointId]) -> set[ExtendedPointId]:
        """By retrieving: while a segment is being rewritten, a count goes on counting deleted points. Whose version is unbeatable."""
        there, unbeatable = self._versions(client, ids)
        left = sum(version <= self.claim.version for version in there.values())
        if left:
            raise self._not_deleted(left, len(ids))
        return unbeatable

    def _not_as_sent(self, short: int, sent: int) -> StoreUnavailable:
        return StoreUnavailable(
            f"Of {counted(sent, 'point')} that Qdrant took for {self.collection!r}, {counted(short, 'is not as it was', 'are not as they were')} sent: look at its log, and at what"
            " manage.py verify_qdrant finds."
        )

    def _not_deleted(self, left: int, sent: int) -> StoreUnavailable:
        return StoreUnavailable(
            f"{left:,} of {counted(sent, 'point is', 'points are')} still in {self.collection!r} after their deletion: look at Qdrant's log, and run it again."
        )

    def _versions(self, client: QdrantClient, ids: Sequence[ExtendedPointId]) -> tuple[dict[ExtendedPointId, int], set[ExtendedPointId]]:
        """Of those that are there, -1 for a point without one; and whose no worker can have written. Raises RestoreDetected where one was never allocated:
        the condition refused what was sent, and whoever wrote that point did not look at PostgreSQL after this one."""
        found = client.retrieve(self.collection, list(ids), with_payload=["version"], with_vectors=False)
        unbeatable = {record.id for record in found if has_unbeatable_version(record.payload)}
        there = {record.id: _known(version_of(record.payload)) for record in found if record.id not in unbeatable}
        highest = max(there.values(), default=0)
        if highest > self.claim.version and highest > (allocated := last_allocated()):
            raise RestoreDetected(unallocated_version(self.collection, highest, allocated))
        return there, unbeatable


def _known(version: int | None) -> int:
    return -1 if version is None else version
