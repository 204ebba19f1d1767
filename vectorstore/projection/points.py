"""The expected points of users, built from their current rows, for sync, verification and restore."""

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


class Claimed(Protocol):
    """The parts of a claim that are needed here: the users, their ids as an array literal, and the version of their points."""

    @property
    def users(self) -> frozenset[UUID]: ...
    @property
    def array(self) -> str: ...
    @property
    def version(self) -> int: ...


@dataclass(frozen=True, slots=True)
class ExpectedPoints:
    """The expected points of users, one at each index of the lists, in the order of the rows.

    ``since`` is the earliest day on which the user can have had a point. ``vectors`` (N, 512) have length 1 or are NaN. ``usable`` says whether a
    point can be made from the row. ``day`` is the day of the ages by the database's clock, None if there is no row.
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
    """The expected points of a claim's users: ``due`` points, users with ``unusable`` rows, and users who must have no point (``gone``).

    The ages are those of ``day`` (None: there is no row).
    """

    due: list[Point]
    unusable: list[UUID]
    gone: list[UUID]
    day: date | None = None


def points_of(claim: Claimed) -> Points:
    """Return the points of the claim's users, with the claim's version. The statement begins after the version was allocated."""
    expected = expected_points(rows_among(claim.array))
    due = [
        Point(payload["user_id"], vector, payload | {"version": claim.version})
        for payload, vector, usable in zip(expected.payloads, expected.vectors, expected.usable, strict=True)
        if usable
    ]
    unusable = sorted(user_id for user_id, usable in zip(expected.ids, expected.usable, strict=True) if not usable)
    return Points(due, unusable, sorted(claim.users - set(expected.ids) - {ALL_USERS}), expected.day)


def expected_among(ids: Collection[UUID]) -> ExpectedPoints:
    """Return the expected points of these users."""
    return expected_points(rows_among(uuid_array(ids)))


def expected_between(low: UUID, high: UUID, limit: int) -> ExpectedPoints:
    """Return the expected points of the first ``limit`` users after ``low``, up to ``high``, in the order of their ids."""
    return expected_points(rows_between(low, high, limit))


def expected_points(rows: Sequence[Row]) -> ExpectedPoints:
    """Return the expected points of the rows.

    A row is not usable if Python does not support one of its dates, or if its vector has no direction. The table's constraints reject both. If
    they were dropped, an operator must still see these users.
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
