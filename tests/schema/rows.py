"""Rows written in plain SQL, as another service writes them: the guide's required columns, and what a test adds to them."""

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
"""No row has this id."""

ONE_WAY = [1.0] + [0.0] * 511
"""A vector."""

NOT_NULL, FOREIGN_KEY, UNIQUE, CHECK = "23502", "23503", "23505", "23514"
"""What PostgreSQL calls the four kinds of refusal (appendix A of its manual)."""

_numbers = itertools.count(1)

REQUIRED: dict[str, Callable[[], dict[str, Any]]] = {
    "users": lambda: {
        "email": f"somebody{next(_numbers)}@example.com",
        "password_hash": "not-a-hash",
        "full_name": "Somebody",
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
"""By table: the columns that the guide gives no default, with values that obey every rule once the ``people`` are there."""


def insert(table: str, **columns: Any) -> Any:
    """INSERT one row, naming only the required columns and COLUMNS; its key."""
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
    """The rows that a query gives; none for a statement that gives none."""
    with connection.cursor() as cursor:
        cursor.execute(query, parameters or None)
        return cursor.fetchall() if cursor.description else []


def connect() -> psycopg.Connection:
    """A connection beside Django's, to the same database."""
    parameters = connection.get_connection_params()
    return psycopg.connect(**{name: parameters[name] for name in ("dbname", "host", "port", "user", "password") if name in parameters})


def settle() -> None:
    """What a COMMIT would check."""
    ask("SET CONSTRAINTS ALL IMMEDIATE")
    ask("SET CONSTRAINTS ALL DEFERRED")


@contextmanager
def refused(rule: str, sqlstate: str) -> Iterator[None]:
    """The block, and the checks of a COMMIT, end in a violation of RULE (a constraint's name, or TABLE.COLUMN for a NOT NULL) and in no other error."""
    try:
        with transaction.atomic():
            yield
            if sqlstate == FOREIGN_KEY:  # before the others that the row may break as well
                ask(f"SET CONSTRAINTS {rule} IMMEDIATE")
            settle()
    except IntegrityError as error:
        cause = error.__cause__
        assert isinstance(cause, psycopg.Error)
        broken = cause.diag.constraint_name or f"{cause.diag.table_name}.{cause.diag.column_name}"
        assert (broken, cause.sqlstate) == (rule, sqlstate)
    else:
        pytest.fail(f"{rule} let it pass")
