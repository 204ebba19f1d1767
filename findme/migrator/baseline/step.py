"""One step of the conversion of a database, and the names in its SQL."""

from __future__ import annotations

from dataclasses import dataclass

TEMPORARY_PREFIX = "baseline_"
"""The names of temporary constraints and indexes of the conversion begin with it."""

LONGEST_NAME = 63
"""Bytes of a name in PostgreSQL."""

NOT_NULL = "_not_null"
"""The end of the name of a CHECK that will become NOT NULL."""


@dataclass(frozen=True, slots=True)
class Step:
    """One short transaction that locks tables, or one statement outside of any transaction that blocks no writer.

    ``locks`` are the tables, without the schema, with the mode of each lock, in this order. A step without ``locks`` has one statement.
    """

    description: str
    statements: tuple[str, ...]
    locks: tuple[tuple[str, str], ...] = ()
    index: str | None = None
    """The index that the statement builds. If it fails, PostgreSQL leaves this index INVALID."""


def quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def temporary_name(name: str) -> str:
    """Return the name of the constraint that will replace the constraint ``name``."""
    return f"{TEMPORARY_PREFIX}{name}"[:LONGEST_NAME]


def not_null_name(table: str, column: str) -> str:
    """Return the name of the CHECK that will become NOT NULL."""
    return temporary_name(f"{table}_{column}{NOT_NULL}")


def rule_name(constraint: str, table: str) -> str:
    """Return the name of the rule that a constraint of the table checks: TABLE.COLUMN for NOT NULL."""
    name = constraint.removeprefix(TEMPORARY_PREFIX)
    if name != constraint and name.startswith(f"{table}_") and name.endswith(NOT_NULL):
        return f"{table}.{name.removeprefix(f'{table}_').removesuffix(NOT_NULL)}"
    return name
