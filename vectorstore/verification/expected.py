"""What people's points are to be, as PostgreSQL says now."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, date
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from findme.core.postgresql.arrays import uuid_array
from vectorstore.models.embedding import PROJECTABLE_USER
from vectorstore.projection import rows as profiles
from vectorstore.projection.payload import payload_from

ROWS = f"""
    SELECT {profiles.COLUMNS},
           CASE WHEN profile_embeddings.created_at BETWEEN '0001-01-02' AND '9999-12-30' THEN profile_embeddings.created_at END
    FROM profile_embeddings JOIN users ON users.id = user_id
    WHERE {PROJECTABLE_USER}
"""  # noqa: S608  # a constant

BETWEEN = f"{ROWS} AND user_id > %s AND user_id <= %s ORDER BY user_id LIMIT %s"
AMONG = f"{ROWS} AND user_id = ANY(%s::uuid[])"

BEFORE_ALL, AFTER_ALL = UUID(int=0), UUID(int=2**128 - 1)
"""Both stores sort UUIDs by their bytes. No row has the first one (``vectorstore.queue.entries.ALL_USERS``)."""


@dataclass(frozen=True, slots=True)
class People:
    """Those who are to have a point: ``vectors`` (N, 512), of length 1 or NaN where no point can be made; ``since`` is when each of them can have
    had one at the earliest."""

    ids: list[UUID]
    payloads: list[dict[str, Any]]
    births: list[date]
    since: list[date]
    vectors: NDArray[np.float32]


def people_between(low: UUID, high: UUID, limit: int) -> People:
    """The first LIMIT people after LOW, up to HIGH, in the order of their ids; a transaction of its own."""
    return _read(BETWEEN, (low, high, limit))


def people_among(ids: Collection[UUID]) -> People:
    return _read(AMONG, (uuid_array(ids),))


def _read(statement: str, parameters: tuple[object, ...]) -> People:
    """The constraints of the table leave no vector that has not 512 numbers and a direction; where they were dropped, it is NaN. Of a row with a
    date that Python has not no point is made, whatever is expected of it here."""
    rows = profiles.read(statement, parameters)
    people = [profiles.profile_of(row) for row in rows]
    return People(
        [one.user_id for one in people],
        [payload_from(one) for one in people],
        [one.date_of_birth for one in people],
        [(row[-1] or profiles.FIRST_TIME).astimezone(UTC).date() for row in rows],
        profiles.directions_of(rows)[0].astype(np.float32),
    )
