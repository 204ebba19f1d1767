"""The rows of users from which points are made, read by a binary cursor: six times faster than through models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any, TypeAlias
from uuid import UUID

import numpy as np
import psycopg
from django.db import connection
from numpy.typing import NDArray

from vectorstore.models.embedding import PROJECTABLE_USER, VECTOR_SIZE
from vectorstore.projection.payload import Profile
from vectorstore.projection.vectors import ELEMENT

Row: TypeAlias = tuple[Any, ...]
"""The columns of ``ROWS``."""

ROWS = f"""
    SELECT users.id, CASE WHEN date_of_birth BETWEEN '0001-01-01' AND '9999-12-31' THEN date_of_birth END, gender, active, verified,
    CASE WHEN users.created_at BETWEEN '0001-01-02' AND '9999-12-30' THEN users.created_at END,
    interests, location::text, video_features, array_send(vector),
    CASE WHEN profile_embeddings.created_at BETWEEN '0001-01-02' AND '9999-12-30' THEN profile_embeddings.created_at END,
    (clock_timestamp() AT TIME ZONE 'UTC')::date
    FROM users JOIN profile_embeddings ON user_id = users.id
    WHERE {PROJECTABLE_USER}
"""  # noqa: S608  # a constant
"""Dates that Python does not support (``infinity``) become NULL, because one such date would make the whole read fail.

The last column is the day of the ages by the database's clock: after a birthday, a machine whose clock is behind does not write the old age again.
"""

AMONG = f"{ROWS} AND users.id = ANY(%s::uuid[])"
BETWEEN = f"{ROWS} AND user_id > %s AND user_id <= %s ORDER BY user_id LIMIT %s"

FIRST_DATE, FIRST_TIME = date.min, datetime(1, 1, 2, tzinfo=UTC)
"""Placeholders for dates that Python does not support."""

HEADER = 20
"""Bytes before the elements of a ``real[]`` in PostgreSQL's binary format: dimensions, flags, type, length, first index."""
SENT = np.dtype([("header", f"V{HEADER}"), ("elements", ELEMENT, (VECTOR_SIZE,))])
"""A vector as ``array_send`` returns it."""


def rows_among(ids: str) -> list[Row]:
    """Return the rows of the users in ``ids``, a ``uuid[]`` as text."""
    return read(AMONG, (ids,))


def rows_between(low: UUID, high: UUID, limit: int) -> list[Row]:
    """Return the first ``limit`` rows after ``low``, up to ``high``, in the order of the ids."""
    return read(BETWEEN, (low, high, limit))


def read(statement: str, parameters: tuple[object, ...]) -> list[Row]:
    """Return the rows of ``statement``. This bypasses Django's cursors, so its execute wrappers and query log do not see it."""
    connection.ensure_connection()
    with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as cursor:
        return cursor.execute(statement, parameters, binary=True).fetchall()


def is_datable(row: Row) -> bool:
    """Return whether Python supports the dates of the row."""
    return row[1] is not None and row[5] is not None


def since(row: Row) -> date:
    """Return the earliest day on which the user can have had a point."""
    created_at: datetime = row[10] or FIRST_TIME
    return created_at.astimezone(UTC).date()


def profile_of(row: Row) -> Profile:
    user_id, date_of_birth, gender, active, verified, created_at, interests, location, video_features = row[:9]
    return Profile(
        user_id,
        date_of_birth or FIRST_DATE,
        gender,
        active,
        verified,
        created_at or FIRST_TIME,
        None if location is None else json.loads(location),
        interests,
        # The shortest decimal number for each 32-bit number.
        None if video_features is None else [float(str(np.float32(number))) for number in video_features],
    )


def directions_of(rows: Sequence[Row]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the rows' vectors with length 1 (N, 512) and their original lengths (N), as ``unit_rows`` does.

    A vector with another number of elements, which the table's constraints reject, counts as a vector of zeros.
    """
    vectors = [row[9] if len(row[9]) == SENT.itemsize else bytes(SENT.itemsize) for row in rows]
    return unit_rows(np.frombuffer(b"".join(vectors), SENT)["elements"]["number"].astype(np.float64))


def unit_rows(vectors: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the vectors with length 1 (N, 512) and their original lengths (N).

    This is computed in 64 bits. Qdrant would compute it in 32 bits, where the squares of small numbers become 0. A row of zeros, or with a NaN,
    is not usable: check its length.
    """
    lengths = np.linalg.norm(vectors, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return vectors / lengths[:, None], lengths
