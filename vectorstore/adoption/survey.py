"""Compare the vectors of a collection with PostgreSQL before it is adopted: what would be lost?"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from qdrant_client.models import Record

from findme.core.commands.progress import Report
from vectorstore.adoption.fingerprints import Fingerprints
from vectorstore.adoption.imported import imported_vector
from vectorstore.consistency.versions import version_of
from vectorstore.projection.points import ExpectedPoints, expected_among
from vectorstore.projection.rows import unit_rows
from vectorstore.qdrant.connection import qdrant
from vectorstore.qdrant.pages import Page, Points
from vectorstore.retention.unique_vectors import users_of, without_embedding
from vectorstore.verification.compare import TOLERANCE

EXAMPLES = 3
"""Ids that are reported for each kind."""


@dataclass(slots=True)
class Survey:
    """The counts of the points before an adoption.

    ``orphans`` have no user in PostgreSQL. ``highest`` is the highest version that a worker can have written. ``unique_vectors`` are
    points with the only copy of the vector of a user in PostgreSQL. They are no orphans. ``different`` are vectors other than PostgreSQL's vector of
    the same user. Only a collection that is replaced has ``unusable`` points: no import can store their vectors. ``examples`` are ids of the last
    three kinds.
    """

    points: int = 0
    orphans: int = 0
    highest: int = 0
    unique_vectors: int = 0
    different: int = 0
    unusable: int = 0
    examples: dict[str, list[str]] = field(default_factory=dict)

    def note(self, kind: str, point_id: UUID | int) -> None:
        """Count a point as ``unique_vectors``, ``different`` or ``unusable``."""
        setattr(self, kind, getattr(self, kind) + 1)
        known = self.examples.setdefault(kind, [])
        if len(known) < EXAMPLES:
            known.append(str(point_id))

    def with_changes(self, changes: Survey) -> Survey:
        """Return the counts after points were written again: ``changes`` are those of a later read of all points."""
        return replace(self + changes, points=changes.points)

    def __add__(self, other: Survey) -> Survey:
        kinds = self.examples.keys() | other.examples.keys()
        return Survey(
            self.points + other.points,
            self.orphans + other.orphans,
            max(self.highest, other.highest),
            self.unique_vectors + other.unique_vectors,
            self.different + other.different,
            self.unusable + other.unusable,
            {kind: [*self.examples.get(kind, []), *other.examples.get(kind, [])][:EXAMPLES] for kind in sorted(kinds)},
        )


class Vectors(AbstractContextManager["Vectors"]):
    """The vectors of one collection, as a survey has found them.

    A collection that is ``replaced`` is deleted afterwards, so every vector counts. One that is adopted in place keeps its points, and workers
    overwrite them. There only a vector in a point without a version counts: no FindMe database wrote it.
    """

    def __init__(self, collection: str, *, replaced: bool, folder: Path | None = None) -> None:
        self.collection, self.replaced = collection, replaced
        with qdrant() as client:
            self.vector = imported_vector(client, collection)
        self.fingerprints = Fingerprints(folder)
        self.numbers = Survey()

    def survey(self, report: Report) -> Survey:
        """Compare every point with PostgreSQL."""
        found = Survey()
        for page in self.vector.pages(self.collection):
            points = page.points()
            self.numbers += self._compare_numbers(page, points)
            found += self._compare(page, points, frozenset(points.ids))
            self.fingerprints.add(points)
            report(found.points + self.numbers.points)
        return found + self.numbers

    def changes(self, report: Report) -> Survey:
        """Compare the points that were written since the survey.

        The other vectors were in PostgreSQL then, and may have been replaced there by now.
        """
        found, numbers, known = Survey(), Survey(), self.fingerprints.read()
        for page in self.vector.pages(self.collection):
            points = page.points()
            numbers += self._compare_numbers(page, points)
            found += self._compare(page, points, known.written(points))
            report(found.points + numbers.points)
        # Numeric ids have no fingerprint. The survey has counted those that were there.
        numbers.unusable = max(numbers.unusable - self.numbers.unusable, 0)
        return found + numbers

    def _compare(self, page: Page, points: Points, asked: frozenset[UUID]) -> Survey:
        """Compare the points ``asked`` of the page. Count all its points, except those whose id is a number."""
        found = Survey(len(points.ids), highest=max((version_of(one) or 0 for one in points.payloads), default=0))
        directions, lengths = unit_rows(points.vectors.astype(np.float64))
        valid = (np.isfinite(lengths) & (lengths > 0)).tolist()
        expected = expected_among(asked)
        close = _close(expected, points, directions)
        unmatched: list[Record] = []
        different: list[UUID] = []
        for user, payload, is_valid in zip(points.ids, points.payloads, valid, strict=True):
            if user not in asked:
                continue
            if user not in close:
                unmatched.append(Record(id=str(user), payload=payload))
            elif not is_valid and self.replaced:
                found.note("unusable", user)
            elif is_valid and not close[user] and (self.replaced or version_of(payload) is None):
                different.append(user)
        known = self.vector.superseded(page, [*different, *(UUID(str(record.id)) for record in unmatched)])
        for user in different:
            if user not in known:
                found.note("different", user)
        importable = frozenset(user for user, is_valid in zip(points.ids, valid, strict=True) if is_valid)
        self._judge(found, unmatched, importable, known)
        return found

    def _judge(self, found: Survey, unmatched: Sequence[Record], valid: Collection[UUID], known: Collection[UUID] = ()) -> None:
        """Count the points without an expected one: orphans, and those that hold the only copy of a user's vector.

        PostgreSQL has deleted the vectors of the ``known`` users since they were imported. Their points are orphans.
        """
        lacking = without_embedding(user for record in unmatched for user in users_of(record)) - frozenset(known)
        for record in unmatched:
            point_id = record.id if isinstance(record.id, int) else UUID(str(record.id))
            if not users_of(record) & lacking:
                found.orphans += 1
            elif self.replaced and not (point_id in valid and point_id in lacking and users_of(record) == {point_id}):
                found.note("unusable", point_id)
            else:
                found.note("unique_vectors", point_id)

    def _compare_numbers(self, page: Page, points: Points) -> Survey:
        """Count points whose id is a number. Their payload may name a user, and they may have a version."""
        payloads = page.payloads[: len(points.numbers)]
        found = Survey(len(points.numbers), highest=max((version_of(one) or 0 for one in payloads), default=0))
        if points.numbers:
            records = [Record(id=number, payload=payload) for number, payload in zip(points.numbers, payloads, strict=True)]
            self._judge(found, records, ())
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.fingerprints.close()


def _close(expected: ExpectedPoints, page: Points, directions: NDArray[np.float64]) -> dict[UUID, bool]:
    """Return for each expected user of the page whether the vectors are equal, within the tolerance of ``verify_qdrant``."""
    index_of = {user: index for index, user in enumerate(page.ids)}
    found = directions[[index_of[user] for user in expected.ids]]
    differences = np.abs(expected.vectors.astype(np.float32) - found.astype(np.float32))
    close: NDArray[np.bool_] = np.all(differences <= TOLERANCE, axis=1)
    return dict(zip(expected.ids, map(bool, close), strict=True))
