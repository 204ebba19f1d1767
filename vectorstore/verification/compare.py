"""One page of both stores, compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

import numpy as np

from accounts.age import age_group, age_on, today
from vectorstore.consistency.versions import has_unbeatable_version, version_of
from vectorstore.projection.points import ExpectedPoints
from vectorstore.qdrant.pages import Points

TOLERANCE = 1e-6
"""Of one number of a vector of length 1: more than 32 bits round, and less than a search can tell apart."""

AGES = ("age", "age_group")


class Kind(StrEnum):
    """How a point differs. ``orphaned`` is one that nobody is to have."""

    MISSING = "missing"
    ORPHANED = "orphaned"
    STALE_PAYLOAD = "stale payload"
    STALE_VECTOR = "stale vector"


@dataclass(frozen=True, slots=True)
class Difference:
    """``version`` is the point's, None where there is no point, or none that a worker of ours wrote. ``unbeatable`` is a point that the condition of
    every write takes for newer than it can be: it has to be deleted before it can be written."""

    kinds: tuple[Kind, ...]
    version: int | None
    unbeatable: bool = False


@dataclass(slots=True)
class Compared:
    """``waiting`` are points that are right but for an age, which the daily job has not come to. ``versions`` are those of all points."""

    differences: dict[UUID, Difference] = field(default_factory=dict)
    waiting: int = 0
    versions: list[int] = field(default_factory=list)


def compare(expected: ExpectedPoints, points: Points, ages_valid_on: date | None) -> Compared:
    """Every person and every point, which are of the same ids or of nobody. AGES_RIGHT_ON is the day on which ages were last refreshed."""
    compared = Compared()
    at = {point_id: index for index, point_id in enumerate(points.ids)}
    both = [(index, at[user]) for index, user in enumerate(expected.ids) if user in at]
    there = {expected.ids[index] for index, _ in both}
    for user in expected.ids:
        if user not in there:
            compared.differences[user] = Difference((Kind.MISSING,), None)
    for point_id, payload in zip(points.ids, points.payloads, strict=True):
        compared.versions.append(version_of(payload) or 0)
        if point_id not in there:
            compared.differences[point_id] = _difference(payload, Kind.ORPHANED)
    _compare_both(expected, points, both, ages_valid_on, compared)
    return compared


def _compare_both(
    expected: ExpectedPoints, points: Points, both: list[tuple[int, int]], ages_valid_on: date | None, compared: Compared
) -> None:
    """A NaN is close to nothing, so a vector that was spoilt is another one."""
    if not both:
        return
    mine, theirs = (list(indices) for indices in zip(*both, strict=True))
    close = (np.abs(expected.vectors[mine].astype(np.float32) - points.vectors[theirs]) <= TOLERANCE).all(axis=1).tolist()
    for is_close, index, other in zip(close, mine, theirs, strict=True):
        found, payload = points.payloads[other], expected.payloads[index]
        right = _same(found, payload)
        late = not right and _same_but_age(found, payload, expected.births[index], ages_valid_on or expected.since[index])
        if is_close and late:
            compared.waiting += 1
        elif not (is_close and right):
            kinds = (*(() if right or late else (Kind.STALE_PAYLOAD,)), *(() if is_close else (Kind.STALE_VECTOR,)))
            compared.differences[expected.ids[index]] = _difference(found, *kinds)


def _difference(payload: Mapping[str, Any], *kinds: Kind) -> Difference:
    version = version_of(payload)
    return Difference(kinds, version, unbeatable=has_unbeatable_version(payload))


def _same(found: Mapping[str, Any], expected: Mapping[str, Any]) -> bool:
    """Beside what is expected, a point carries a version; how high it may be is for others to say."""
    if len(found) != len(expected) + 1 or version_of(found) is None:
        return False
    return all(
        found.get(name) == value or (name == "video_features" and _same_reals(found.get(name), value)) for name, value in expected.items()
    )


def _same_reals(found: object, expected: list[float]) -> bool:
    """PostgreSQL gives a ``real`` as its shortest decimal, or by its bits: the same 32 bits are the same number."""
    if not isinstance(found, list) or len(found) != len(expected) or not all(type(number) in {int, float} for number in found):
        return False
    return bool((np.array(found, np.float32) == np.array(expected, np.float32)).all())


def _same_but_age(found: Mapping[str, Any], expected: Mapping[str, Any], born: date, since: date) -> bool:
    """Whether all is the same but the age, and that was right on SINCE or on a later day: the job will come to it. Tomorrow has come already where
    another machine's clock is ahead of this one's."""
    age = found.get("age")
    if (
        type(age) is not int
        or not age_on(born, since) <= age <= age_on(born, today() + timedelta(days=1))
        or found.get("age_group") != age_group(age)
    ):
        return False
    return _same(found, {**expected, "age": age, "age_group": age_group(age)})
