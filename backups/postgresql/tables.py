"""The tables whose rows ``pg_dump`` writes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from django.db.backends.base.base import BaseDatabaseWrapper

from findme.core.errors import UserFacingError

PLAIN = re.compile(r"[a-z_][a-z0-9_]*")
# Tables of extensions are made by CREATE EXTENSION. A standby cannot read unlogged tables, and pg_dump leaves them out there.
TABLES = """
    SELECT t.oid, n.nspname, t.relname, pg_table_is_visible(t.oid) FROM pg_class t JOIN pg_namespace n ON n.oid = t.relnamespace
    WHERE t.relkind = 'r' AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = t.oid AND d.objsubid = 0 AND d.deptype = 'e')
    AND NOT (t.relpersistence = 'u' AND pg_is_in_recovery())
    ORDER BY n.nspname COLLATE "C", t.relname COLLATE "C"
"""


@dataclass(frozen=True, slots=True)
class Table:
    """A table with rows of its own: an ordinary table, or a partition without partitions."""

    oid: int
    schema: str
    name: str
    is_visible: bool
    """Whether the session's ``search_path`` finds the table by its name alone."""

    def __str__(self) -> str:
        """Return schema and name. They are quoted by a fixed rule: PostgreSQL's own rule depends on the keywords of its version."""
        return ".".join(part if PLAIN.fullmatch(part) else quoted(part) for part in (self.schema, self.name))

    @property
    def quoted(self) -> str:
        """Return schema and name for SQL. As a pattern of ``pg_dump`` it matches this table only."""
        return f"{quoted(self.schema)}.{quoted(self.name)}"


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def dumped_tables(connection: BaseDatabaseWrapper) -> list[Table]:
    """Return the tables of all schemas but those of the system and of extensions, sorted by schema and name."""
    with connection.cursor() as cursor:
        cursor.execute(TABLES)
        return [Table(*row) for row in cursor.fetchall()]


def named_tables(connection: BaseDatabaseWrapper, names: Iterable[str]) -> list[Table]:
    """Return the tables with these names, with or without their schema. Raise UserFacingError for a name without a table.

    A name is written as it is, or as ``str`` of a table shows it.
    """
    tables = dumped_tables(connection)
    return sorted({_named(name, tables) for name in names}, key=lambda table: (table.schema, table.name))


def _named(name: str, tables: list[Table]) -> Table:
    for table in tables:
        if name in (str(table), table.quoted, f"{table.schema}.{table.name}"):
            return table
    for table in tables:
        if table.is_visible and name in (table.name, quoted(table.name)):
            return table
    known = [str(table) for table in tables] + [table.name for table in tables if table.is_visible]
    near = get_close_matches(name, known, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else "Name one as SCHEMA.TABLE."
    raise UserFacingError(f"There is no table {name!r} with rows in this database: nothing was written. {hint}")
