"""Merge join of one collection and PostgreSQL: both are read in the order of their ids, one page at a time."""

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
"""Users of one statement, which is a transaction of its own."""
RECHECK_AFTER = 5000
"""Number of differing users that starts a recheck."""
WAIT_SECONDS = 0.5
"""Pause between the last of these comparisons and the recheck."""

BEFORE_ALL, AFTER_ALL = UUID(int=0), UUID(int=2**128 - 1)
"""Both stores sort UUIDs by their bytes. No row has the lowest one (``vectorstore.queue.entries.ALL_USERS``)."""


def verify_collection(
    found: DriftReport, *, building: bool, ages_valid_on: date | None, report: Report, points: Iterator[Points] | None = None
) -> int:
    """Compare every user with every point. Return how many users must have one.

    ``points`` are the collection's pages, if the caller has begun to read them. While the collection is ``building``, missing points
    are pending.
    """
    differing: list[UUID] = []
    users = 0
    for expected, page in _merge_join(pages(found.name) if points is None else points):
        users += len(expected.ids)
        compared = _compared(found, expected, page, ages_valid_on)
        differing += [user for user, one in compared.differences.items() if not _is_pending(found, one.kinds, building=building)]
        if len(differing) >= RECHECK_AFTER:
            _decide(found, differing, ages_valid_on, building=building)
            differing.clear()
        report(max(users, found.points))
    _decide(found, differing, ages_valid_on, building=building)
    return users


def _merge_join(points: Iterator[Points]) -> Iterator[tuple[ExpectedPoints, Points]]:
    """Yield pages of expected points, each with Qdrant's points of the same range of ids.

    Both stores sort UUIDs by their bytes, and Qdrant returns numeric ids first. Qdrant is read first. For a user who is added in
    between, the row is then seen, and the recheck reads the point again.
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
    """Yield the users after ``low`` and up to ``high``, with the points of ``page``. There may be far more users than points."""
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
    found.pending += 0 if found.orphans_only else compared.waiting
    for number in points.numbers:
        found.add_number(number)
    found.unique_numbers += sum(1 for _ in _unique(found.name, points.numbers))
    found.see_versions(compared.versions)
    return compared


def _is_pending(found: DriftReport, kinds: tuple[Kind, ...], *, building: bool) -> bool:
    """Return whether a difference does not count, and count it as pending unless only orphans count."""
    if found.orphans_only and Kind.ORPHANED not in kinds:
        return True
    if building and kinds == (Kind.MISSING,):
        found.pending += 1
        return True
    return False


def _decide(found: DriftReport, differing: list[UUID], ages_valid_on: date | None, *, building: bool) -> None:
    if not differing:
        return
    time.sleep(WAIT_SECONDS)
    decided = recheck_users(found.name, differing, ages_valid_on)
    found.pending += decided.pending
    quarantined = set(QuarantinedUser.objects.filter(pk__in=decided.differences).values_list("pk", flat=True))
    found.quarantined += len(quarantined)
    for user, difference in decided.differences.items():
        if user not in quarantined and not _is_pending(found, difference.kinds, building=building):
            found.add(user, difference)
    for point_id in _unique(found.name, _orphans(decided.differences, quarantined)):
        found.unique.add(UUID(str(point_id)).int)


def _orphans(differences: Mapping[UUID, Difference], quarantined: Collection[UUID]) -> list[str]:
    return [str(one) for one, difference in differences.items() if Kind.ORPHANED in difference.kinds and one not in quarantined]


def _unique(collection: str, ids: Sequence[ExtendedPointId]) -> Iterator[ExtendedPointId]:
    """Yield those of the points that hold the only copy of a vector."""
    for start in range(0, len(ids), PAGE_SIZE):
        with qdrant() as client:
            yield from unique_among(client, collection, ids[start : start + PAGE_SIZE])
