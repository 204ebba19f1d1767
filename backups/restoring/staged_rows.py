# ruff: noqa: S608  # PostgreSQL's catalog and this package make the SQL, with quoted names
"""A temporary table with some rows of a backup, and the reason for each row that stays out of the live table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any
from uuid import UUID

from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql

from backups.restoring.table_rules import Reference, TableRules, Unique
from findme.core.postgresql.arrays import uuid_array

MARK = "findme_left_out"
"""The column with the reason, NULL for a row that is brought back."""
KEPT = f"{MARK} IS NULL"

Relations = Mapping[int, Sequence[str]]
"""SQL of the relations that together have the rows of a table, by the oid of the table."""


class Reason(StrEnum):
    """Why a row that is missing is not brought back."""

    IN_LEDGER = "of users in the erasure ledger"
    STAFF = "of accounts of staff"
    WITHOUT_REFERENCE = "that refer to rows which are gone"
    TAKEN = "with a unique value that another row has"
    INVALID = "that break a rule of today's table"


class StagedRows:
    """Rows of one table. The temporary table lasts as long as the session, and its content is that of the last ``load``."""

    def __init__(self, live: BaseDatabaseWrapper, rules: TableRules, name: str) -> None:
        self.live, self.rules = live, rules
        self.name = f"pg_temp.{name}"
        self._run(f"CREATE TEMPORARY TABLE {name} (LIKE {rules.table.quoted} INCLUDING STORAGE)")
        self._run(f"ALTER TABLE {self.name} ADD COLUMN {MARK} text")

    def add_key(self) -> None:
        """Add the primary key of the live table, for rows that are looked up."""
        self._run(f"CREATE UNIQUE INDEX ON {self.name} ({self.rules.key})")

    @property
    def kept(self) -> str:
        """Return SQL of the rows that are brought back."""
        return f"(SELECT * FROM {self.name} WHERE {KEPT})"

    def load(self, scratch: BaseDatabaseWrapper, keys: Sequence[str]) -> None:
        """Replace the rows by those of the backup with these keys."""
        rules = self.rules
        chosen = f"{rules.key} = ANY({array(keys, rules.key_type)})"
        out = f"COPY (SELECT {rules.column_list} FROM {rules.table.quoted} WHERE {chosen}) TO STDOUT (FORMAT BINARY)"
        into = f"COPY {self.name} ({rules.column_list}) FROM STDIN (FORMAT BINARY)"
        self._run(f"TRUNCATE {self.name}")
        with (
            scratch.cursor() as reading,
            self.live.cursor() as writing,
            scratch.wrap_database_errors,
            reading.copy(out) as source,
            self.live.wrap_database_errors,
            writing.copy(into) as target,
        ):
            for block in source:
                target.write(block)
        self._run(f"ANALYZE {self.name}")

    def delete_present(self, relations: Sequence[str]) -> int:
        """Delete the rows whose key one of the relations has, and return their number."""
        return self._run(f"DELETE FROM {self.name} s WHERE {_any(relations, f'p.{self.rules.key} = s.{self.rules.key}')}")

    def users(self) -> set[UUID]:
        """Return the users that the rows refer to."""
        values = ", ".join(f"({column})" for column in self.rules.users)
        query = f"SELECT DISTINCT u FROM {self.name}, LATERAL (VALUES {values}) AS named(u) WHERE u IS NOT NULL"
        return {user_id for (user_id,) in self._fetch(query)}

    def mark(self, reason: Reason, condition: str, parameters: Sequence[str] = ()) -> None:
        self._run(f"UPDATE {self.name} s SET {MARK} = '{reason.name}' WHERE {KEPT} AND ({condition})", parameters)

    def mark_users(self, user_ids: Iterable[UUID]) -> None:
        ids = uuid_array(user_ids)
        conditions = " OR ".join(f"{column} = ANY(%s::uuid[])" for column in self.rules.users)
        self.mark(Reason.IN_LEDGER, conditions, [ids] * len(self.rules.users))

    def mark_rules(self, relations: Relations) -> None:
        """Mark the rows that break a rule of the live table. ``relations`` have the rows that it and its parents will have."""
        self.mark(Reason.STAFF, self.rules.staff)
        for reference in self.rules.references:
            if not reference.cleared:
                self.mark(Reason.WITHOUT_REFERENCE, without_parent(reference, relations))
        for unique in self.rules.unique:
            self.mark(Reason.TAKEN, self._taken(unique, relations[self.rules.table.oid]))
        for check in self.rules.checks:
            self.mark(Reason.INVALID, f"({check}) IS FALSE")

    def clear(self, reference: Reference, relations: Relations) -> int:
        """Set the columns to NULL in the rows whose parent does not exist, and return their number."""
        columns = ", ".join(f"{column} = NULL" for column in reference.cleared)
        return self._run(f"UPDATE {self.name} s SET {columns} WHERE {KEPT} AND {without_parent(reference, relations)}")

    def parents(self, reference: Reference) -> list[str]:
        """Return the primary keys, as text, of the rows to which the rows refer."""
        query = f"SELECT DISTINCT {reference.key}::text FROM {self.name} WHERE {KEPT} AND {reference.key} IS NOT NULL"
        return [key for (key,) in self._fetch(query)]

    def insert_into(self, relation: str) -> int:
        """Insert the rows, except those that another transaction has inserted meanwhile. Return how many were inserted."""
        columns = self.rules.column_list
        return self._run(
            f"INSERT INTO {relation} ({columns}) SELECT {columns} FROM {self.name} WHERE {KEPT} ORDER BY {self.rules.key} ON CONFLICT DO NOTHING"
        )

    def counts(self) -> tuple[int, dict[Reason, int]]:
        """Return the number of rows that are brought back, and that of the others by reason."""
        found = dict(self._fetch(f"SELECT {MARK}, count(*) FROM {self.name} GROUP BY 1"))
        return found.get(None, 0), {reason: found[reason.name] for reason in Reason if reason.name in found}

    def drop(self) -> None:
        self._run(f"DROP TABLE IF EXISTS {self.name}")

    def _taken(self, unique: Unique, relations: Sequence[str]) -> str:
        """Return the condition of the rows that have the values of another row. NULL equals nothing."""
        values = ", ".join(f"{expression} AS v{n}" for n, expression in enumerate(unique.expressions))
        equal = " AND ".join(f"p.v{n} = mine.v{n}" for n in range(len(unique.expressions)))
        others = [f"(SELECT {values} FROM {relation} AS r WHERE {unique.condition})" for relation in relations]
        mine = f"(SELECT {self.rules.key} AS key, {values} FROM {self.name} WHERE {KEPT} AND {unique.condition})"
        return f"s.{self.rules.key} IN (SELECT mine.key FROM {mine} AS mine WHERE {_any(others, equal)})"

    def _run(self, statement: str, parameters: Sequence[str] = ()) -> int:
        with self.live.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return int(cursor.rowcount)

    def _fetch(self, query: str) -> list[Any]:
        with self.live.cursor() as cursor:
            cursor.execute(query)
            return list(cursor.fetchall())


def without_parent(reference: Reference, relations: Relations) -> str:
    """Return the condition of the rows ``s`` whose parent is in none of the relations."""
    refers = " AND ".join(f"s.{column} IS NOT NULL" for column in reference.columns)
    return f"({refers}) AND NOT {_any(relations[reference.parent.oid], reference.condition)}"


def array(keys: Sequence[str], key_type: str) -> str:
    """Return SQL of the keys, which are texts, as an array of their type."""
    return f"{sql.Literal(list(keys)).as_string(None)}::text[]::{key_type}[]"


def _any(relations: Sequence[str], condition: str) -> str:
    """Return the condition that one of the relations has a row ``p`` with the condition."""
    return "(" + " OR ".join(f"EXISTS (SELECT FROM {relation} AS p WHERE {condition})" for relation in relations) + ")"
