"""Write rows in plain SQL, as another service does: the required columns of the migration guide, and columns of a test."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.db import IntegrityError, connection, transaction
from psycopg import sql

ANN, BOB, CEM = (UUID(f"00000000-0000-4000-8000-00000000000{n}") for n in (1, 2, 3))
MATCH = UUID("00000000-0000-4000-8000-0000000000aa")
VIDEO = UUID("00000000-0000-4000-8000-0000000000bb")
UNUSED_ID = UUID("00000000-0000-4000-8000-0000000000ff")
"""An id that no row has."""

ONE_WAY = [1.0] + [0.0] * 511
"""A vector."""

NOT_NULL, FOREIGN_KEY, UNIQUE, CHECK = "23502", "23503", "23505", "23514"
"""SQLSTATE of each kind of violation (PostgreSQL's manual, appendix A)."""

_numbers = itertools.count(1)

REQUIRED: dict[str, Callable[[], dict[str, Any]]] = {
    "users": lambda: {
        "email": f"user{next(_numbers)}@example.com",
        "password_hash": "not-a-hash",
        "full_name": "Some User",
        "date_of_birth": date(1990, 2, 28),
        "gender": "other",
    },
    "videos": lambda: {"user_id": ANN, "storage_url": "https://videos.example.com/1.mp4", "duration": 30, "file_size": 1},
    "matches": lambda: {
        "user_id": ANN,
        "matched_user_id": CEM,
        "week_number": 1 + next(_numbers) % 52,
        "year": 2000 + next(_numbers) // 52,
        "match_score": 0.5,
        "expires_at": datetime(2026, 1, 12, tzinfo=UTC),
    },
    "video_calls": lambda: {"match_id": MATCH, "caller_id": ANN, "callee_id": BOB, "session_id": f"call-{next(_numbers)}"},
    "profile_embeddings": lambda: {"user_id": CEM, "vector": ONE_WAY},
}
"""Columns without a default in the guide, by table. With the rows of the fixture ``users`` the values violate no constraint."""


def insert(table: str, **columns: Any) -> Any:
    """Insert a row with the required columns and ``columns`` only, and return its key."""
    row = REQUIRED[table]() | columns
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING {}").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, row)),
        sql.SQL(", ").join(sql.Placeholder() * len(row)),
        sql.Identifier("user_id" if table == "profile_embeddings" else "id"),
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, list(row.values()))
        return cursor.fetchone()[0]


def update(table: str, key: Any, **columns: Any) -> None:
    statement = sql.SQL("UPDATE {} SET {} WHERE {} = %s").format(
        sql.Identifier(table),
        sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(column)) for column in columns),
        sql.Identifier("user_id" if table == "profile_embeddings" else "id"),
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, [*columns.values(), key])


def ask(query: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """Run a statement and return its rows, if it has any."""
    with connection.cursor() as cursor:
        cursor.execute(query, parameters or None)
        return cursor.fetchall() if cursor.description else []


def connect() -> psycopg.Connection:
    """Return a second connection to the database of Django's connection."""
    parameters = connection.get_connection_params()
    return psycopg.connect(**{name: parameters[name] for name in ("dbname", "host", "port", "user", "password") if name in parameters})


def settle() -> None:
    """Check the deferred constraints, as COMMIT does."""
    ask("SET CONSTRAINTS ALL IMMEDIATE")
    ask("SET CONSTRAINTS ALL DEFERRED")


@contextmanager
def refused(rule: str, sqlstate: str) -> Iterator[None]:
    """Assert that the block, or the checks of a COMMIT, violate ``rule``: a constraint, or TABLE.COLUMN for NOT NULL."""
    try:
        with transaction.atomic():
            yield
            if sqlstate == FOREIGN_KEY:  # before other constraints that the row may violate too
                ask(f"SET CONSTRAINTS {rule} IMMEDIATE")
            settle()
    except IntegrityError as error:
        cause = error.__cause__
        assert isinstance(cause, psycopg.Error)
        broken = cause.diag.constraint_name or f"{cause.diag.table_name}.{cause.diag.column_name}"
        assert (broken, cause.sqlstate) == (rule, sqlstate)
    else:
        pytest.fail(f"{rule} let it pass")
