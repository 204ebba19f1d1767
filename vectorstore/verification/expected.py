"""What people's points are to be, as PostgreSQL says now: read by a binary cursor, six times faster than through models."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, date
from typing import Any
from uuid import UUID

import numpy as np
import psycopg
from django.db import connection
from numpy.typing import NDArray

from vectorstore.models import VECTOR_SIZE
from vectorstore.projection import Profile, payload_from
from vectorstore.sync.rows import ELEMENT, HEADER, unit_rows

COLUMNS = """
    SELECT users.id, CASE WHEN date_of_birth BETWEEN '0001-01-01' AND '9999-12-31' THEN date_of_birth ELSE '0001-01-01' END,
           gender, active, verified,
           CASE WHEN users.created_at BETWEEN '0001-01-02' AND '9999-12-30' THEN users.created_at ELSE '0001-01-02' END,
           interests, video_features, location::text, array_send(vector),
           CASE WHEN profile_embeddings.created_at BETWEEN '0001-01-02' AND '9999-12-30' THEN profile_embeddings.created_at ELSE '0001-01-02' END
    FROM profile_embeddings JOIN users ON users.id = user_id
    WHERE deleted_at IS NULL AND NOT is_staff
"""
"""Dates that Python has not (``infinity``) come as the first that it has: reading one would fail for everybody. Of such a row no point is made."""

BETWEEN = f"{COLUMNS} AND user_id > %s AND user_id <= %s ORDER BY user_id LIMIT %s"
AMONG = f"{COLUMNS} AND user_id = ANY(%s)"

BEFORE_ALL, AFTER_ALL = UUID(int=0), UUID(int=2**128 - 1)
"""Both stores sort UUIDs by their bytes. No row has the first one (``vectorstore.sync.queue.EVERYBODY``)."""


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
    return _read(AMONG, (list(ids),))


def _read(statement: str, parameters: tuple[object, ...]) -> People:
    connection.ensure_connection()
    with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as cursor:
        rows = cursor.execute(statement, parameters, binary=True).fetchall()
    return People(
        [row[0] for row in rows],
        [payload_from(_profile(row)) for row in rows],
        [row[1] for row in rows],
        [row[10].astimezone(UTC).date() for row in rows],
        _vectors([row[9] for row in rows]),
    )


def _profile(row: tuple[Any, ...]) -> Profile:
    user_id, date_of_birth, gender, active, verified, created_at, interests, video_features, location, *_ = row
    place = None if location is None else json.loads(location)
    return Profile(user_id, date_of_birth, gender, active, verified, created_at, place, interests, video_features)


def _vectors(sent: list[bytes]) -> NDArray[np.float32]:
    """Of length 1. The constraints of the table leave none that has not 512 numbers and a direction; where they were dropped, it is NaN."""
    size = HEADER + VECTOR_SIZE * ELEMENT.itemsize
    whole = [one if len(one) == size else bytes(size) for one in sent]
    row = np.dtype([("header", f"V{HEADER}"), ("elements", ELEMENT, (VECTOR_SIZE,))])
    numbers = np.frombuffer(b"".join(whole), row)["elements"]["number"].astype(np.float64)
    return unit_rows(numbers)[0].astype(np.float32)
