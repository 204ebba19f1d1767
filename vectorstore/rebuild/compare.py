"""A collection against PostgreSQL: whose point is missing, whose is another than their row makes, and which are nobody's.

In constant memory. Whoever differs is looked at again, several times, since others write meanwhile; who is on the queue, leased or set aside is
pending, and ages are not compared, since they wait for the day's job.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any
from uuid import UUID

import numpy as np
from qdrant_client import QdrantClient
from qdrant_client.models import PointStruct, Record

from findme.console.progress import Report, unreported
from vectorstore.models import SetAside
from vectorstore.projection import entitled
from vectorstore.settled import settled
from vectorstore.sync.claim import Claim
from vectorstore.sync.rows import points_of

PAGE_SIZE = 500
LOOKS = 5
WAIT_SECONDS = 0.2
"""Between two looks: longer than a batch takes from the commit to the point."""
MOST = 10_000
"""Differences that are looked at again; with more, it is not the writers."""
TOLERANCE = 1e-6
"""Of one number of a vector of length 1."""
NOT_COMPARED = {"version", "age", "age_group"}
NOBODY = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Compared:
    """``differing`` by kind (missing, orphaned, stale), after the last look; ``examples`` are ids of them."""

    people: int
    points: int
    pending: int
    differing: Counter[str]
    examples: tuple[str, ...]


def compare(client: QdrantClient, collection: str, report: Report = unreported) -> Compared:
    """Compare everyone. Raises StoreUnavailable."""
    seen: Counter[str] = Counter()
    differing = dict(islice(_differences(client, collection, seen, report), MOST))
    numbers = {one: kind for one, kind in differing.items() if not isinstance(one, UUID)}
    people = [one for one in differing if isinstance(one, UUID)]
    kinds = {one: differing[one] for one in people}
    left, pending = (kinds, 0) if len(differing) == MOST else _looked_at_again(client, collection, people)
    wrong = [*numbers.items(), *left.items()]
    return Compared(
        seen["people"], seen["points"], pending, Counter(kind for _, kind in wrong), tuple(sorted(str(one) for one, _ in wrong)[:3])
    )


def _differences(client: QdrantClient, collection: str, seen: Counter[str], report: Report) -> Iterator[tuple[object, str]]:
    """Everyone who is to have a point, in the order of their ids; then every point."""
    people = entitled().order_by("pk").values_list("pk", flat=True)
    page = list(people[:PAGE_SIZE])
    while page:
        seen["people"] += len(page)
        yield from _wrong(client, collection, page).items()
        report(seen["people"])
        page = list(people.filter(pk__gt=page[-1])[:PAGE_SIZE])
    for points in _pages(client, collection):
        seen["points"] += len(points)
        yield from _orphans(points).items()
        report(seen["people"] + seen["points"])


def _wrong(client: QdrantClient, collection: str, people: Sequence[UUID]) -> dict[UUID, str]:
    """Whose point is not what their row says, and how: the rows first, and then the points."""
    expected = _expected(people)
    found = {str(record.id): record for record in client.retrieve(collection, [str(person) for person in people], with_vectors=True)}
    wrong = {person: _how(found.get(str(person)), expected.get(str(person))) for person in people}
    return {person: how for person, how in wrong.items() if how is not None}


def _expected(people: Sequence[UUID]) -> dict[str, PointStruct]:
    """As a worker would make them."""
    points = points_of(Claim(NOBODY, frozenset(people), (), 0, ()))
    return {str(point.id): point for point in points.due}


def _how(record: Record | None, point: PointStruct | None) -> str | None:
    if record is None or point is None:
        return "missing" if point else "orphaned" if record else None
    right = _compared(record.payload) == _compared(point.payload) and _are_close(record.vector, point.vector)
    return None if right else "stale"


def _compared(payload: dict[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (payload or {}).items() if name not in NOT_COMPARED}


def _are_close(vector: object, expected: object) -> bool:
    """NaN is close to nothing."""
    if not isinstance(vector, list) or not isinstance(expected, list) or len(vector) != len(expected):
        return False
    return bool(np.allclose(np.array(vector), np.array(expected), rtol=0, atol=TOLERANCE))


def _pages(client: QdrantClient, collection: str) -> Iterator[list[object]]:
    offset = None
    while True:
        records, offset = client.scroll(collection, limit=PAGE_SIZE, offset=offset, with_payload=False, with_vectors=False)
        yield [record.id for record in records]
        if offset is None:
            return


def _orphans(ids: list[object]) -> dict[object, str]:
    """A number is nobody's id."""
    people = {UUID(point_id): point_id for point_id in ids if isinstance(point_id, str)}
    known = set(entitled().filter(pk__in=people).values_list("pk", flat=True))
    return {user_id: "orphaned" for user_id in people if user_id not in known} | {
        point_id: "orphaned" for point_id in ids if not isinstance(point_id, str)
    }


def _looked_at_again(client: QdrantClient, collection: str, people: list[UUID]) -> tuple[dict[UUID, str], int]:
    """Who differs though nobody has anything to do with them, and how many are pending."""
    wrong: dict[UUID, str] = {}
    moving = sorted(people)
    for look in range(LOOKS):
        time.sleep(WAIT_SECONDS if look and moving else 0)
        looked_at, moving = moving, []
        for start in range(0, len(looked_at), PAGE_SIZE):
            found, still_moving = _look(client, collection, looked_at[start : start + PAGE_SIZE])
            wrong |= found
            moving += still_moving
    return wrong, len(moving)


def _look(client: QdrantClient, collection: str, people: list[UUID]) -> tuple[dict[UUID, str], list[UUID]]:
    """Whose point is wrong while they are settled and their rows the same all along; and who is on the move."""
    before = settled(people)
    wrong = _wrong(client, collection, people)
    after = settled(list(wrong))
    aside = set(SetAside.objects.filter(pk__in=wrong).values_list("pk", flat=True))
    still = {
        person: how for person, how in wrong.items() if person not in aside and person in after and before.get(person) == after[person]
    }
    return still, [person for person in wrong if person not in still]
