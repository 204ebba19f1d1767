"""One step of the conversion of a database."""

from __future__ import annotations

from dataclasses import dataclass


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
