"""The tables of a schema as PostgreSQL's catalog describes them, in a form that can be compared with another schema."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

EXTENSIONS = ("pg_trgm", "uuid-ossp")


@dataclass(frozen=True, slots=True)
class Column:
    """``type`` is as in CREATE TABLE. ``default`` is an expression, also that of a generated column."""

    name: str
    type: str
    not_null: bool
    default: str | None
    generated: bool


@dataclass(frozen=True, slots=True)
class Constraint:
    """``kind`` is ``pg_constraint.contype``: c, f, p, u or x. ``definition`` is as after ADD CONSTRAINT, without NOT VALID."""

    name: str
    kind: str
    definition: str
    valid: bool


@dataclass(frozen=True, slots=True)
class Index:
    """An index without a constraint. ``definition`` begins after the name of the table: ``USING btree (email)``."""

    name: str
    unique: bool
    definition: str
    valid: bool


@dataclass(frozen=True, slots=True)
class Trigger:
    """``definition`` is without the names of the trigger and of the table. ``enabled`` is ``pg_trigger.tgenabled``."""

    name: str
    definition: str
    enabled: str


@dataclass(frozen=True, slots=True)
class Table:
    """``kind`` is ``pg_class.relkind``: r for a plain table. Columns, constraints, indexes and triggers are by name."""

    name: str
    kind: str = "r"
    columns: dict[str, Column] = field(default_factory=dict)
    constraints: dict[str, Constraint] = field(default_factory=dict)
    indexes: dict[str, Index] = field(default_factory=dict)
    triggers: dict[str, Trigger] = field(default_factory=dict)


_NAME = r'(?:"(?:[^"]|"")+"|\w+)'
_BEFORE_INDEX = re.compile(rf"CREATE (?:UNIQUE )?INDEX {_NAME} ON (?:ONLY )?(?:{_NAME}\.)?{_NAME} ")
_NAMES_OF_TRIGGER = re.compile(rf"CREATE (CONSTRAINT )?TRIGGER {_NAME} (.*?) ON (?:{_NAME}\.)?{_NAME} ")

_TABLES = "SELECT relname::text, relkind::text FROM pg_class WHERE relnamespace = %(schema)s::regnamespace AND relname = ANY(%(names)s) AND relkind NOT IN ('i', 'I', 't')"
_COLUMNS = """
    SELECT c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid), a.attgenerated <> ''
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.relnamespace = %(schema)s::regnamespace AND c.relname = ANY(%(names)s) AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attnum
"""
# PostgreSQL 18 also stores NOT NULL as a constraint ('n'), which the columns show in every version. 't' is a constraint trigger.
_CONSTRAINTS = """
    SELECT r.relname::text, c.conname::text, c.contype::text, regexp_replace(pg_get_constraintdef(c.oid), ' NOT VALID$', ''), c.convalidated
    FROM pg_constraint c JOIN pg_class r ON r.oid = c.conrelid
    WHERE r.relnamespace = %(schema)s::regnamespace AND r.relname = ANY(%(names)s) AND c.contype NOT IN ('n', 't')
    ORDER BY 2
"""
_INDEXES = """
    SELECT t.relname::text, c.relname::text, i.indisunique, pg_get_indexdef(c.oid), i.indisvalid
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
    WHERE t.relnamespace = %(schema)s::regnamespace AND t.relname = ANY(%(names)s)
    AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = c.oid AND contype IN ('p', 'u', 'x'))
    ORDER BY 2
"""
_TRIGGERS = """
    SELECT c.relname::text, t.tgname::text, pg_get_triggerdef(t.oid), t.tgenabled::text
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
    WHERE c.relnamespace = %(schema)s::regnamespace AND c.relname = ANY(%(names)s) AND NOT t.tgisinternal
    ORDER BY 2
"""


def read_tables(connection: BaseDatabaseWrapper, schema: str, names: Collection[str]) -> dict[str, Table]:
    """Return those of the relations ``names`` that exist in ``schema``, by name. Definitions do not contain the name of the schema."""
    parameters: dict[str, Any] = {"schema": quoted(connection, schema), "names": list(names)}
    with _search_path(connection, schema), connection.cursor() as cursor:
        cursor.execute(_TABLES, parameters)
        tables = {name: Table(name, kind) for name, kind in cursor.fetchall()}
        for table, *column in _rows(cursor, _COLUMNS, parameters):
            tables[table].columns[column[0]] = Column(*column)
        for table, *constraint in _rows(cursor, _CONSTRAINTS, parameters):
            tables[table].constraints[constraint[0]] = Constraint(*constraint)
        for table, name, unique, definition, valid in _rows(cursor, _INDEXES, parameters):
            tables[table].indexes[name] = Index(name, unique, _BEFORE_INDEX.sub("", definition, count=1), valid)
        for table, name, definition, enabled in _rows(cursor, _TRIGGERS, parameters):
            tables[table].triggers[name] = Trigger(name, _NAMES_OF_TRIGGER.sub(r"\1\2 ", definition, count=1), enabled)
    return tables


def _rows(cursor: CursorWrapper, query: str, parameters: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    cursor.execute(query, parameters)
    yield from cursor.fetchall()


def quoted(connection: BaseDatabaseWrapper, name: str) -> str:
    return str(connection.ops.quote_name(name))


@contextmanager
def _search_path(connection: BaseDatabaseWrapper, schema: str) -> Iterator[None]:
    """Let PostgreSQL print the names in ``schema`` and in the schemas of the extensions without a schema."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT extnamespace::regnamespace::text FROM pg_extension WHERE extname = ANY(%s)", [list(EXTENSIONS)])
        schemas = [quoted(connection, schema), *(name for (name,) in cursor.fetchall() if name != quoted(connection, schema))]
        cursor.execute("SELECT current_setting('search_path')")
        (before,) = cursor.fetchone()
        cursor.execute("SELECT set_config('search_path', %s, false)", [", ".join(schemas)])
        try:
            yield
        finally:
            cursor.execute("SELECT set_config('search_path', %s, false)", [before])
