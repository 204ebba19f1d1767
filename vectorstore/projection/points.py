"""The current rows of people, as points: read in one statement."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from math import inf
from typing import Protocol
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from vectorstore.models.embedding import PROJECTABLE_USER
from vectorstore.projection import rows as profiles
from vectorstore.projection.payload import Profile, payload_from
from vectorstore.qdrant.write import Point
from vectorstore.queue.entries import ALL_USERS
from vectorstore.queue.shutdown import statement_deadline

ROWS = f"""
    SELECT {profiles.COLUMNS}, (clock_timestamp() AT TIME ZONE 'UTC')::date
    FROM users JOIN profile_embeddings ON user_id = users.id
    WHERE users.id = ANY(%s::uuid[]) AND {PROJECTABLE_USER}
"""  # noqa: S608  # a constant
"""The day of the ages is the database's: whoever was queued for a birthday is not written as a year too young by a machine whose clock is behind."""


class Claimed(Protocol):
    """What is asked of a claim: the people, the same as an array for PostgreSQL, and the version of their points."""

    @property
    def people(self) -> frozenset[UUID]: ...
    @property
    def array(self) -> str: ...
    @property
    def version(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Points:
    """The points that people are to have, with the ages of ``day`` (None: there is no row); whose row no point can be made of; and who is to have
    none."""

    due: list[Point]
    unusable: list[UUID]
    gone: list[UUID]
    day: date | None = None


def points_of(claim: Claimed) -> Points:
    """The points of the claim's people, with the claim's version. A statement that begins after the version was allocated."""
    with statement_deadline():
        rows = profiles.read(ROWS, (claim.array,))
    found = {row[0] for row in rows}
    gone = sorted(claim.people - found - {ALL_USERS})
    rows = [row for row in rows if profiles.is_datable(row)]
    if not rows:
        return Points([], sorted(found), gone)
    directions, lengths = profiles.directions_of(rows)
    points = [
        _point(profiles.profile_of(row), row[-1], direction, claim.version)
        for row, direction, length in zip(rows, directions, lengths.tolist(), strict=True)
        if 0 < length < inf
    ]
    unusable = found - {UUID(point.id) for point in points} if len(points) < len(found) else ()
    return Points(points, sorted(unusable), gone, rows[0][-1])


def _point(profile: Profile, day: date, direction: NDArray[np.float64], version: int) -> Point:
    payload = payload_from(profile, day)
    payload["version"] = version
    return Point(payload["user_id"], direction, payload)
