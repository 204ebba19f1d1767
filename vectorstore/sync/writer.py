"""Write a claim's points into every collection with conditional writes, and read them back (protocol rules 4, 5, 6, 10 and 11)."""

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
from vectorstore.consistency.deletions import note_deletion_time
from vectorstore.consistency.versions import has_unbeatable_version, last_allocated, version_of
from vectorstore.models import VECTOR_SIZE
from vectorstore.projection.ages import disbelieve_days_after
from vectorstore.projection.points import Points, points_of
from vectorstore.qdrant import write as conditional_write
from vectorstore.qdrant.connection import qdrant
from vectorstore.qdrant.errors import RequestRejected, RestoreDetected
from vectorstore.qdrant.write import Point
from vectorstore.retention.unique_vectors import FIELDS, points_hold, unique_among_records
from vectorstore.sync.claims import Claim
from vectorstore.sync.leases import renew
from vectorstore.sync.results import BatchResult, RejectedUser

log = logging.getLogger(__name__)

NO_POINT = "no point can be made of its rows: correct its vector (512 finite numbers, not all 0) or its dates (years 1 to 9999)"

MIN_FULLY_REJECTED = 16
"""If Qdrant rejects every user of a batch of at least this size, the cause is not the users' data (protocol rule 11)."""


def write(claim: Claim) -> BatchResult:
    """Read the users' current rows, then write and delete their points in each collection of the claim, the live one first.

    Raises StoreUnavailable and LeaseLost. What was sent may then be applied, not applied, or applied later. A secondary collection that
    answers with an error is marked as failed and blocks no user.
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
    for copy in claim.copies:
        unique += _delete_from_copy(claim, copy, points)
    return BatchResult(
        written=len(points.due) - len(writer.rejected),
        removed=writer.removed,
        rejected=(*unusable, *writer.rejected),
        unique_vectors=unique,
        sent_at=writer.sent_at,
    )


def _write_secondary(claim: Claim, collection: str, points: Points, rejected: set[UUID]) -> int:
    """Write one secondary collection. Return how many of its points hold a unique vector and stay.

    The collection does not fail for ``rejected`` users, which the live one rejects as well.
    """
    writer = _CollectionWriter(claim, collection)
    with fail_secondary_on_error(collection):
        writer.apply(points)
    for user in writer.rejected:
        if user.user_id not in rejected:
            fail_secondary(collection, StoreUnavailable(user.reason))
    return writer.unique_vectors


def _delete_from_copy(claim: Claim, copy: str, points: Points) -> int:
    """Delete the points of users who must have none from a copy. Return how many points hold a unique vector and stay.

    Its points have no versions, so every deletion applies.
    """
    writer = _CollectionWriter(claim, copy)
    with fail_secondary_on_error(copy):
        writer.delete([str(user) for user in points.gone])
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
        if len(self.rejected) == len(points.due) >= MIN_FULLY_REJECTED:
            raise RequestRejected(self.rejected[0].reason)
        self.delete([str(user) for user in (*points.gone, *points.unusable)])

    def write(self, points: Sequence[Point]) -> None:
        """Upsert the points. Split a rejected batch until the rejected users are known."""
        if not points:
            return
        try:
            with qdrant() as client:
                self._upsert(client, points)
                if unbeatable := self._check_written(client, points):
                    self._clear(client, unbeatable)
                    self._upsert(client, [point for point in points if point.id in unbeatable])
                    if unwritten := self._check_written(client, points):
                        raise self._not_as_sent(len(unwritten), len(points))
        except RequestRejected as error:
            self._check_vector_size(error)
            if len(points) == 1:
                self.rejected.append(RejectedUser(UUID(points[0].id), self.collection, one_line(error)))
                return
            middle = len(points) // 2
            self.write(points[:middle])
            self.write(points[middle:])

    def delete(self, ids: Sequence[ExtendedPointId]) -> None:
        """Delete the points, absent ones too: another worker's upsert may have been applied since.

        A unique vector stays, unless its user's deletion was captured.
        """
        if not ids:
            return
        with qdrant() as client:
            found = client.retrieve(self.collection, list(ids), with_payload=FIELDS, with_vectors=False)
            unique = self._unique(client, found)
            self.removed = len(found) - len(unique)
            if not (ids := [point_id for point_id in ids if point_id not in unique]):
                return
            if self.removed:
                note_deletion_time()
            self.sent_at = renew(self.claim)
            conditional_write.delete(client, self.collection, ids, self.claim.version)
            if unbeatable := self._check_deleted(client, ids):
                self._clear(client, unbeatable)
                if undeleted := self._check_deleted(client, ids):
                    raise self._not_deleted(len(undeleted), len(ids))

    def _unique(self, client: QdrantClient, found: Sequence[Record]) -> set[ExtendedPointId]:
        """Return the points that stay, because they hold a unique vector."""
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
        """Delete points with unbeatable versions, which another program wrote. They would block their users' writes forever."""
        log.warning("%s points in %s have a version that no worker can have written. They are deleted.", len(ids), self.collection)
        note_deletion_time()
        self.sent_at = renew(self.claim)
        conditional_write.clear(client, self.collection, list(ids))

    def _check_vector_size(self, error: RequestRejected) -> None:
        """Raise ``error`` if the collection has another vector size: its rejection then says nothing about a user."""
        with qdrant() as client:
            vectors = client.get_collection(self.collection).config.params.vectors
        if not isinstance(vectors, VectorParams) or vectors.size != VECTOR_SIZE:
            raise error

    def _check_written(self, client: QdrantClient, points: Sequence[Point]) -> set[ExtendedPointId]:
        """Raise unless all points are written. Return the points whose version is unbeatable.

        Qdrant's answer to the write is no proof. Counting is nearly free. If the count is too low, the versions are read: a point may
        already have a later version, or an unbeatable one.
        """
        ids: list[ExtendedPointId] = [point.id for point in points]
        if conditional_write.count_of(client, self.collection, ids, self.claim.version) == len(points):
            return set()
        versions, unbeatable = self._versions(client, ids)
        short = sum(versions.get(point_id, -1) < self.claim.version for point_id in ids if point_id not in unbeatable)
        if short:
            raise self._not_as_sent(short, len(points))
        return unbeatable

    def _check_deleted(self, client: QdrantClient, ids: Sequence[ExtendedPointId]) -> set[ExtendedPointId]:
        """Raise unless all points are deleted. Return the points whose version is unbeatable.

        Points are retrieved, not counted: Qdrant 1.18.3 keeps counting deleted points while it rewrites a segment.
        """
        versions, unbeatable = self._versions(client, ids)
        remaining = sum(version <= self.claim.version for version in versions.values())
        if remaining:
            raise self._not_deleted(remaining, len(ids))
        return unbeatable

    def _not_as_sent(self, short: int, sent: int) -> StoreUnavailable:
        return StoreUnavailable(
            f"Qdrant accepted {counted(sent, 'point')} for {self.collection!r}, but {counted(short, 'differs', 'differ')} from what was sent."
            " Check Qdrant's log and run manage.py verify_qdrant."
        )

    def _not_deleted(self, remaining: int, sent: int) -> StoreUnavailable:
        return StoreUnavailable(
            f"{remaining:,} of {counted(sent, 'point is', 'points are')} still in {self.collection!r} after their deletion."
            " Check Qdrant's log, then run the command again."
        )

    def _versions(self, client: QdrantClient, ids: Sequence[ExtendedPointId]) -> tuple[dict[ExtendedPointId, int], set[ExtendedPointId]]:
        """Return the versions of the existing points (-1 for a point without one), and the ids with an unbeatable version.

        Raises RestoreDetected if a version above the claim's was never allocated: the condition has rejected the write, and the writer
        of that point did not use this PostgreSQL's sequence.
        """
        found = client.retrieve(self.collection, list(ids), with_payload=["version"], with_vectors=False)
        unbeatable = {record.id for record in found if has_unbeatable_version(record.payload)}
        versions = {record.id: _known(version_of(record.payload)) for record in found if record.id not in unbeatable}
        highest = max(versions.values(), default=0)
        if highest > self.claim.version and highest > (allocated := last_allocated()):
            raise RestoreDetected(unallocated_version(self.collection, highest, allocated))
        return versions, unbeatable


def _known(version: int | None) -> int:
    return -1 if version is None else version
