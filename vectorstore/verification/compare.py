"""Compare one page of both stores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from accounts.age import age_group, age_on, today
from vectorstore.consistency.versions import has_unbeatable_version, version_of
from vectorstore.projection.points import ExpectedPoints
from vectorstore.projection.rows import unit_rows
from vectorstore.qdrant.pages import Points

TOLERANCE = 1e-6
"""For one number of a vector of length 1: more than the rounding of 32 bits, and less than a search can distinguish."""

AGES = ("age", "age_group")


class Kind(StrEnum):
    """How a point differs. An ``orphaned`` point belongs to no user who may have one.

    A ``foreign vector`` is a valid vector, other than PostgreSQL's, in a point without a version: another program wrote it to Qdrant directly.
    """

    MISSING = "missing"
    ORPHANED = "orphaned"
    STALE_PAYLOAD = "stale payload"
    STALE_VECTOR = "stale vector"
    FOREIGN_VECTOR = "foreign vector"


@dataclass(frozen=True, slots=True)
class Difference:
    """The kinds of one difference, with the version of the point.

    ``version`` is None if there is no point, or if no worker of this project wrote it. An ``unbeatable`` point has a version that the
    condition of every write treats as newer. It must be deleted before it can be written again.
    """

    kinds: tuple[Kind, ...]
    version: int | None
    unbeatable: bool = False


@dataclass(slots=True)
class Compared:
    """The result of one page. ``waiting`` counts points with an outdated age only, which the daily job refreshes.

    ``versions`` are those of all points.
    """

    differences: dict[UUID, Difference] = field(default_factory=dict)
    waiting: int = 0
    versions: list[int] = field(default_factory=list)


def compare(expected: ExpectedPoints, points: Points, ages_valid_on: date | None) -> Compared:
    """Compare every expected point with every point in Qdrant. Points without an expected one are orphans.

    ``ages_valid_on`` is the day on which ages were last refreshed.
    """
    compared = Compared()
    index_of = {point_id: index for index, point_id in enumerate(points.ids)}
    both = [(index, index_of[user]) for index, user in enumerate(expected.ids) if user in index_of]
    matched = {expected.ids[index] for index, _ in both}
    for user in expected.ids:
        if user not in matched:
            compared.differences[user] = Difference((Kind.MISSING,), None)
    for point_id, payload in zip(points.ids, points.payloads, strict=True):
        compared.versions.append(version_of(payload) or 0)
        if point_id not in matched:
            compared.differences[point_id] = _difference(payload, Kind.ORPHANED)
    _compare_both(expected, points, both, ages_valid_on, compared)
    return compared


def _compare_both(
    expected: ExpectedPoints, points: Points, both: list[tuple[int, int]], ages_valid_on: date | None, compared: Compared
) -> None:
    """Compare the points that both stores have. A vector with a NaN differs, since a NaN is close to nothing."""
    if not both:
        return
    expected_indices, point_indices = (list(indices) for indices in zip(*both, strict=True))
    differences = np.abs(expected.vectors[expected_indices].astype(np.float32) - points.vectors[point_indices])
    close = (differences <= TOLERANCE).all(axis=1).tolist()
    for is_close, index, point_index in zip(close, expected_indices, point_indices, strict=True):
        found, payload = points.payloads[point_index], expected.payloads[index]
        is_same = _same(found, payload)
        has_old_age = not is_same and _same_but_age(found, payload, expected.births[index], ages_valid_on or expected.since[index])
        if is_close and has_old_age:
            compared.waiting += 1
        elif not (is_close and is_same):
            kinds = (
                *(() if is_same or has_old_age else (Kind.STALE_PAYLOAD,)),
                *(() if is_close else (_kind_of_vector(found, points.vectors[point_index], expected.vectors[index]),)),
            )
            compared.differences[expected.ids[index]] = _difference(found, *kinds)


def _kind_of_vector(payload: Mapping[str, Any], vector: NDArray[np.float32], expected: NDArray[np.float64]) -> Kind:
    """Return the kind of a vector that differs. Workers write only points with a version.

    The embedded store returns vectors of other programs as they were written, so the direction decides.
    """
    (direction,), (length,) = unit_rows(vector[None].astype(np.float64))
    if version_of(payload) is not None or not 0 < length < np.inf:
        return Kind.STALE_VECTOR
    is_same = bool((np.abs(direction - expected) <= TOLERANCE).all())
    return Kind.STALE_VECTOR if is_same else Kind.FOREIGN_VECTOR


def _difference(payload: Mapping[str, Any], *kinds: Kind) -> Difference:
    version = version_of(payload)
    return Difference(kinds, version, unbeatable=has_unbeatable_version(payload))


def _same(found: Mapping[str, Any], expected: Mapping[str, Any]) -> bool:
    """Return whether the payloads are equal. A point also has a version. ``DriftReport`` checks how high it may be."""
    if len(found) != len(expected) + 1 or version_of(found) is None:
        return False
    return all(
        found.get(name) == value or (name == "video_features" and _same_reals(found.get(name), value)) for name, value in expected.items()
    )


def _same_reals(found: object, expected: list[float]) -> bool:
    """Compare as 32-bit numbers: PostgreSQL returns a ``real`` as its shortest decimal or by its bits."""
    if not isinstance(found, list) or len(found) != len(expected) or not all(type(number) in {int, float} for number in found):
        return False
    return bool((np.array(found, np.float32) == np.array(expected, np.float32)).all())


def _same_but_age(found: Mapping[str, Any], expected: Mapping[str, Any], born: date, since: date) -> bool:
    """Return whether only the age differs, and the stored age was right on ``since`` or later. The daily job refreshes it.

    The age of tomorrow is accepted, since another machine's clock may be ahead of this one's.
    """
    age = found.get("age")
    if (
        type(age) is not int
        or not age_on(born, since) <= age <= age_on(born, today() + timedelta(days=1))
        or found.get("age_group") != age_group(age)
    ):
        return False
    return _same(found, {**expected, "age": age, "age_group": age_group(age)})
