"""The points that users are to have, from their current rows. The sync, verification and a restore all take them from here."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from math import inf
from typing import Any, Protocol
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from findme.core.postgresql.arrays import uuid_array
from vectorstore.projection.payload import payload_from
from vectorstore.projection.rows import Row, directions_of, is_datable, profile_of, rows_among, rows_between, since
from vectorstore.qdrant.write import Point
from vectorstore.queue.entries import ALL_USERS
from vectorstore.queue.shutdown import statement_deadline


class Claimed(Protocol):
    """What is asked of a claim: the people, the same as an array for PostgreSQL, and the version of their points."""

    @property
    def users(self) -> frozenset[UUID]: ...
    @property
    def array(self) -> str: ...
    @property
    def version(self) -> int: ...


@dataclass(frozen=True, slots=True)
class ExpectedPoints:
    """The points that users are to have, one at each index of the lists, in the order of the rows.

    ``since`` is the day on which the user can have had a point at the earliest. ``vectors`` (N, 512) have length 1, or are NaN. ``usable`` says
    whether a point can be made of the row. ``day`` is the database's, and the day of the ages: None if there is no row.
    """

    ids: list[UUID]
    payloads: list[dict[str, Any]]
    births: list[date]
    since: list[date]
    vectors: NDArray[np.float64]
    usable: list[bool]
    day: date | None


@dataclass(frozen=True, slots=True)
class Points:
    """The points that people are to have, with the ages of ``day`` (None: there is no row); whose row no point can be made of; and who is to have
    none."""

    due: list[Point]
    unusable: list[UUID]
    gone: list[UUID]
    day: date | None = None


def points_of(claim: Claimed) -> Points:
    """Return the points of the claim's users, with the claim's version. The statement begins after the version was allocated."""
    with statement_deadline():
        rows = rows_among(claim.array)
    expected = expected_points(rows)
    due = [
        Point(payload["user_id"], vector, payload | {"version": claim.version})
        for payload, vector, usable in zip(expected.payloads, expected.vectors, expected.usable, strict=True)
        if usable
    ]
    unusable = sorted(user_id for user_id, usable in zip(expected.ids, expected.usable, strict=True) if not usable)
    return Points(due, unusable, sorted(claim.users - set(expected.ids) - {ALL_USERS}), expected.day)


def expected_among(ids: Collection[UUID]) -> ExpectedPoints:
    """Return the points that these users are to have."""
    return expected_points(rows_among(uuid_array(ids)))


def expected_between(low: UUID, high: UUID, limit: int) -> ExpectedPoints:
    """Return the points of the first ``limit`` users after ``low``, up to ``high``, in the order of their ids."""
    return expected_points(rows_between(low, high, limit))


def expected_points(rows: Sequence[Row]) -> ExpectedPoints:
    """Return what the rows make. No point is made of a row with a date that Python has not, nor of a vector without a direction.

    The table's constraints allow neither. Where they were dropped, an operator still has to see these users.
    """
    profiles = [profile_of(row) for row in rows]
    directions, lengths = directions_of(rows)
    return ExpectedPoints(
        [profile.user_id for profile in profiles],
        [payload_from(profile, row[-1]) for profile, row in zip(profiles, rows, strict=True)],
        [profile.date_of_birth for profile in profiles],
        [since(row) for row in rows],
        directions,
        [is_datable(row) and 0 < length < inf for row, length in zip(rows, lengths.tolist(), strict=True)],
        rows[0][-1] if rows else None,
    )
