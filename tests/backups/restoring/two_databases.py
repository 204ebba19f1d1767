"""A live database and a restored one, with small random contents, and what must come back by a second reading of the rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper

from backups.postgresql.scratch import connection_to
from tests.support.database import Database, database

TABLES = ("users", "profile_embeddings", "videos", "matches", "video_calls")
VECTOR = f"{{{','.join(['1', *['0'] * 511])}}}"
DEFAULTS: dict[str, dict[str, Any]] = {
    "users": {"password_hash": "x", "full_name": "A", "date_of_birth": "1990-05-06", "gender": "other"},
    "profile_embeddings": {"vector": VECTOR},
    "videos": {"storage_url": "https://v.example/1.mp4", "duration": 5, "file_size": 7},
    "matches": {"week_number": 3, "year": 2026, "match_score": 0.5, "expires_at": "2026-02-01T00:00:00Z"},
    "video_calls": {},
}
Row = dict[str, Any]


@dataclass
class Contents:
    """The rows of each table by primary key."""

    rows: dict[str, dict[UUID, Row]] = field(default_factory=lambda: {table: {} for table in TABLES})

    def __getitem__(self, table: str) -> dict[UUID, Row]:
        return self.rows[table]


@contextmanager
def restored_database() -> Iterator[tuple[Database, BaseDatabaseWrapper]]:
    """Create a copy of Django's database, and yield it with a connection."""
    name = str(connection.settings_dict["NAME"])
    connection.close()
    with database(template=name) as made, closing(connection_to(connection, made.name)) as scratch:
        yield made, scratch


def insert(session: psycopg.Connection[Any], table: str, **values: Any) -> bool:
    """Insert the row, and return whether the database accepts it."""
    row = DEFAULTS[table] | values
    names, places = ", ".join(row), ", ".join(["%s"] * len(row))
    try:
        with session.transaction():
            session.execute("SET CONSTRAINTS ALL IMMEDIATE")
            session.execute(f"INSERT INTO {table} ({names}) VALUES ({places})".encode(), list(row.values()))
    except psycopg.IntegrityError:
        return False
    return True


def change(session: psycopg.Connection[Any], statement: str, *values: Any) -> None:
    """Run the statement if the database accepts it."""
    try:
        with session.transaction():
            session.execute("SET CONSTRAINTS ALL IMMEDIATE")
            session.execute(statement.encode(), values)
    except psycopg.IntegrityError:
        pass


def empty(session: psycopg.Connection[Any]) -> None:
    session.execute("DELETE FROM users; DELETE FROM erased_users; DELETE FROM pending_actions; DELETE FROM vector_sync_queue")


def contents(session: psycopg.Connection[Any]) -> Contents:
    """Return all rows, each with its ``xmin``, which changes with every change of the row."""
    found = Contents()
    for table in TABLES:
        key = "user_id" if table == "profile_embeddings" else "id"
        cursor = session.execute(f"SELECT *, xmin::text FROM {table}".encode())
        assert cursor.description is not None
        names = [column.name for column in cursor.description]
        for values in cursor.fetchall():
            row = dict(zip(names, values, strict=True))
            found[table][row[key]] = row
    return found


def users_of(table: str, row: Row) -> list[UUID]:
    columns = {"users": ["id"], "matches": ["user_id", "matched_user_id"], "video_calls": ["caller_id", "callee_id"]}
    return [row[column] for column in columns.get(table, ["user_id"])]


class Expected:
    """What ``bring_back`` must do: numbers by table, and all rows afterwards. It applies the rules row by row, in Python."""

    def __init__(self, backup: Contents, live: Contents, in_ledger: set[UUID], tables: Sequence[str]) -> None:
        self.backup, self.in_ledger, self.tables = backup, in_ledger, tables
        self.after = Contents({table: dict(rows) for table, rows in live.rows.items()})
        self.numbers: dict[str, dict[str, int]] = {}
        for table in [one for one in TABLES if one in tables]:
            self._bring_back(table, live)

    def _bring_back(self, table: str, live: Contents) -> None:
        counts = self.numbers[table] = dict.fromkeys(("present", "brought_back", "in_ledger", "staff", "without_reference", "taken"), 0)
        counts["cleared"] = 0
        for key, row in self.backup[table].items():
            if key in live[table]:
                counts["present"] += 1
                continue
            reason = self._reason(table, row)
            counts[reason or "brought_back"] += 1
            if reason:
                continue
            new = {name: value for name, value in row.items() if name != "xmin"}
            if table == "users" and row["video_id"] and not self._has_video(row):
                new["video_id"] = None
                counts["cleared"] += 1
            self.after[table][key] = new

    def _reason(self, table: str, row: Row) -> str | None:
        if self.in_ledger & set(users_of(table, row)):
            return "in_ledger"
        if table == "users":
            if row["is_staff"] or row["is_superuser"]:
                return "staff"
            taken = {other["email"].lower() for other in self.after["users"].values()}
            return "taken" if row["email"].lower() in taken else None
        if not set(users_of(table, row)) <= self.after["users"].keys():
            return "without_reference"
        if table == "matches":
            return "taken" if any(_is_same_pair(row, other) for other in self.after["matches"].values()) else None
        if table == "video_calls":
            match = self.after["matches"].get(row["match_id"])
            if match is None or set(users_of("matches", match)) != set(users_of(table, row)):
                return "without_reference"
            return "taken" if any(row["session_id"] == other["session_id"] for other in self.after[table].values()) else None
        return None

    def _has_video(self, user: Row) -> bool:
        if (found := self.after["videos"].get(user["video_id"])) is not None:
            return bool(found["user_id"] == user["id"])
        return "videos" in self.tables


def _is_same_pair(one: Row, other: Row) -> bool:
    if (one["week_number"], one["year"]) != (other["week_number"], other["year"]):
        return False
    if (one["user_id"], one["matched_user_id"]) == (other["user_id"], other["matched_user_id"]):
        return True
    return one["deleted_at"] is None and other["deleted_at"] is None and set(users_of("matches", one)) == set(users_of("matches", other))
