"""Merge join of one collection and PostgreSQL: both are read in the order of their ids, a page at a time."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date
from uuid import UUID

from qdrant_client.models import ExtendedPointId

from findme.core.commands.progress import Report
from vectorstore.models import QuarantinedUser
from vectorstore.projection.points import ExpectedPoints, expected_between, expected_points
from vectorstore.qdrant.connection import qdrant
from vectorstore.qdrant.pages import NONE, Points
from vectorstore.qdrant.scroll import pages
from vectorstore.retention.unique_vectors import unique_among
from vectorstore.verification.compare import Compared, Difference, Kind, compare
from vectorstore.verification.drift import DriftReport
from vectorstore.verification.recheck import recheck_users

PAGE_SIZE = 500
"""People of one statement, which is a transaction of its own."""
DOUBTFUL = 5000
"""People who differ, before they are looked at again."""
WAIT_SECONDS = 0.5
"""From the last of them to the recheck."""

BEFORE_ALL, AFTER_ALL = UUID(int=0), UUID(int=2**128 - 1)
"""Both stores sort UUIDs by their bytes. No row has the first one (``vectorstore.queue.entries.ALL_USERS``)."""


def verify_collection(
    found: DriftReport, *, building: bool, ages_valid_on: date | None, report: Report, points: Iterator[Points] | None = None
) -> int:
    """Compare every person with every point (the pages POINTS, if somebody has begun with them); how many people are to have one. While it is BUILDING,
    who is missing is still to come."""
    doubtful: list[UUID] = []
    users = 0
    for expected, there in _merge_join(pages(found.name) if points is None else points):
        users += len(expected.ids)
        compared = _compared(found, expected, there, ages_valid_on)
        doubtful += [user for user, one in compared.differences.items() if not _is_to_come(found, one.kinds, building=building)]
        if len(doubtful) >= DOUBTFUL:
            _decide(found, doubtful, ages_valid_on, building=building)
            doubtful.clear()
        report(max(users, found.points))
    _decide(found, doubtful, ages_valid_on, building=building)
    return users


def _merge_join(points: Iterator[Points]) -> Iterator[tuple[ExpectedPoints, Points]]:
    """Pages of people, each with the points of the same range of ids; both stores sort UUIDs by their bytes, and Qdrant has numbers first.

    Qdrant leads. So of somebody who comes in between, the row is seen, and the point is asked for again.
    """
    low = BEFORE_ALL
    for page in points:
        if page.numbers:
            yield expected_points([]), Points([], [], NONE.vectors, page.numbers)
        if page.ids:
            yield from _range(page, low, page.ids[-1])
            low = page.ids[-1]
    yield from _range(NONE, low, AFTER_ALL)


def _range(page: Points, low: UUID, high: UUID) -> Iterator[tuple[ExpectedPoints, Points]]:
    """All people after LOW and up to HIGH, and the points of PAGE: there may be far more people than points."""
    while True:
        expected = expected_between(low, high, PAGE_SIZE)
        if len(expected.ids) < PAGE_SIZE:
            yield expected, page.between(low, high)
            return
        yield expected, page.between(low, expected.ids[-1])
        low = expected.ids[-1]


def _compared(found: DriftReport, expected: ExpectedPoints, points: Points, ages_valid_on: date | None) -> Compared:
    compared = compare(expected, points, ages_valid_on)
    found.points += len(points.ids) + len(points.numbers)
    found.pending += compared.waiting
    for number in points.numbers:
        found.add_number(number)
    found.unique_numbers += sum(1 for _ in _unique(found.name, points.numbers))
    found.see_versions(compared.versions)
    return compared


def _is_to_come(found: DriftReport, kinds: tuple[Kind, ...], *, building: bool) -> bool:
    if building and kinds == (Kind.MISSING,):
        found.pending += 1
        return True
    return False


def _decide(found: DriftReport, doubtful: list[UUID], ages_valid_on: date | None, *, building: bool) -> None:
    if not doubtful:
        return
    time.sleep(WAIT_SECONDS)
    decided = recheck_users(found.name, doubtful, ages_valid_on)
    found.pending += decided.pending
    quarantined = set(QuarantinedUser.objects.filter(pk__in=decided.differences).values_list("pk", flat=True))
    found.quarantined += len(quarantined)
    for user, difference in decided.differences.items():
        if user not in quarantined and not _is_to_come(found, difference.kinds, building=building):
            found.add(user, difference)
    for point_id in _unique(found.name, _orphans(decided.differences, quarantined)):
        found.unique.add(UUID(str(point_id)).int)


def _orphans(differences: Mapping[UUID, Difference], quarantined: Collection[UUID]) -> list[str]:
    return [str(one) for one, difference in differences.items() if Kind.ORPHANED in difference.kinds and one not in quarantined]


def _unique(collection: str, ids: Sequence[ExtendedPointId]) -> Iterator[ExtendedPointId]:
    """Those of the points that hold the only copy of a vector."""
    for start in range(0, len(ids), PAGE_SIZE):
        with qdrant() as client:
            yield from unique_among(client, collection, ids[start : start + PAGE_SIZE])
