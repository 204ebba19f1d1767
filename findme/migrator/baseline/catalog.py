"""The tables of a schema as PostgreSQL's catalog describes them, in a form that can be compared with another schema."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

from findme.core.db.session import session_settings

EXTENSIONS = ("pg_trgm", "uuid-ossp")


@dataclass(frozen=True, slots=True)
class Column:
    """``type`` is as in CREATE TABLE, with a COLLATE of its own. ``default`` is an expression, also that of a generated column, or IDENTITY."""

    name: str
    type: str
    not_null: bool
    default: str | None
    generated: bool


@dataclass(frozen=True, slots=True)
class Constraint:
    """``kind`` is ``pg_constraint.contype``: c, f, p, u or x. ``definition`` is as after ADD CONSTRAINT, without NOT VALID.

    ``columns`` are its columns, those of a CHECK included. A foreign key refers to ``to_columns`` of ``to_table``.
    """

    name: str
    kind: str
    definition: str
    valid: bool
    columns: tuple[str, ...] = ()
    to_table: str | None = None
    to_columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Index:
    """An index without a constraint. ``definition`` begins after the name of the table: ``USING btree (email)``.

    ``keys`` are its columns and expressions, and ``predicate`` is its WHERE.
    """

    name: str
    unique: bool
    definition: str
    valid: bool
    keys: tuple[str, ...] = ()
    predicate: str | None = None

    @property
    def words(self) -> set[str]:
        """The words of its keys and its WHERE: among them every column that it reads."""
        return set(re.findall(r"\w+", " ".join((*self.keys, self.predicate or ""))))

    def is_like(self, other: Index) -> bool:
        """Return whether both are equal but for their names and their state."""
        return (self.unique, self.definition) == (other.unique, other.definition)


@dataclass(frozen=True, slots=True)
class Trigger:
    """``definition`` is without the names of the trigger and of the table. ``enabled`` is ``pg_trigger.tgenabled``."""

    name: str
    definition: str
    enabled: str


@dataclass(frozen=True, slots=True)
class Table:
    """``kind`` is ``pg_class.relkind``: r for a plain table. Columns, constraints, indexes and triggers are by name.

    ``features`` are those of a table that is not a plain one: row level security, unlogged, inheritance, rules, foreign keys off.
    """

    name: str
    kind: str = "r"
    features: tuple[str, ...] = ()
    columns: dict[str, Column] = field(default_factory=dict)
    constraints: dict[str, Constraint] = field(default_factory=dict)
    indexes: dict[str, Index] = field(default_factory=dict)
    triggers: dict[str, Trigger] = field(default_factory=dict)


_NAME = r'(?:"(?:[^"]|"")+"|\w+)'
_BEFORE_INDEX = re.compile(rf"CREATE (?:UNIQUE )?INDEX {_NAME} ON (?:ONLY )?(?:{_NAME}\.)?{_NAME} ")
_NAMES_OF_TRIGGER = re.compile(rf"CREATE (CONSTRAINT )?TRIGGER {_NAME} (.*?) ON (?:{_NAME}\.)?{_NAME} ")

_VARCHARS = re.compile(r"\(ARRAY\[((?:'(?:[^']|'')*'::character varying(?:, )?)+)\]\)::text\[\]")
_VARCHAR = re.compile(r"'(?:[^']|'')*'::character varying")

_TABLES = """
    SELECT relname::text, relkind::text, array_remove(ARRAY[
        CASE WHEN relrowsecurity THEN 'row level security' END,
        CASE WHEN relpersistence = 'u' THEN 'unlogged' END,
        CASE WHEN EXISTS (SELECT FROM pg_inherits WHERE c.oid IN (inhrelid, inhparent)) THEN 'inheritance' END,
        CASE WHEN relkind = 'r' AND EXISTS (SELECT FROM pg_rewrite WHERE ev_class = c.oid) THEN 'rules' END,
        CASE WHEN EXISTS (SELECT FROM pg_trigger WHERE tgrelid = c.oid AND tgisinternal AND tgenabled = 'D') THEN 'foreign keys off' END
    ], NULL)
    FROM pg_class c WHERE relnamespace = %(schema)s::regnamespace AND relname = ANY(%(names)s) AND relkind NOT IN ('i', 'I', 't')
"""
_COLUMNS = """
    SELECT c.relname::text, a.attname::text,
        format_type(a.atttypid, a.atttypmod) || CASE WHEN a.attcollation <> y.typcollation THEN ' COLLATE ' || a.attcollation::regcollation ELSE '' END,
        a.attnotnull AND NOT EXISTS (
            SELECT FROM pg_constraint n WHERE n.conrelid = c.oid AND n.contype = 'n' AND n.conkey = ARRAY[a.attnum] AND NOT n.convalidated),
        CASE WHEN a.attidentity <> '' THEN 'IDENTITY' ELSE pg_get_expr(d.adbin, d.adrelid) END, a.attgenerated <> ''
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_type y ON y.oid = a.atttypid LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.relnamespace = %(schema)s::regnamespace AND c.relname = ANY(%(names)s) AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attnum
"""
# PostgreSQL 18 also stores NOT NULL as a constraint ('n'), which the columns show in every version if it is valid. 't' is a constraint trigger.
_CONSTRAINTS = """
    SELECT r.relname::text, c.conname::text, c.contype::text, regexp_replace(pg_get_constraintdef(c.oid), ' NOT VALID$', ''), c.convalidated,
        ARRAY(SELECT a.attname::text FROM unnest(c.conkey) WITH ORDINALITY k(num, position)
              JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.num ORDER BY k.position),
        f.relname::text,
        ARRAY(SELECT a.attname::text FROM unnest(c.confkey) WITH ORDINALITY k(num, position)
              JOIN pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = k.num ORDER BY k.position)
    FROM pg_constraint c JOIN pg_class r ON r.oid = c.conrelid LEFT JOIN pg_class f ON f.oid = c.confrelid
    WHERE r.relnamespace = %(schema)s::regnamespace AND r.relname = ANY(%(names)s) AND c.contype NOT IN ('n', 't')
    ORDER BY 2
"""
_INDEXES = """
    SELECT t.relname::text, c.relname::text, i.indisunique, pg_get_indexdef(c.oid), i.indisvalid,
        ARRAY(SELECT pg_get_indexdef(c.oid, k, false) FROM generate_series(1, i.indnkeyatts) k ORDER BY k), pg_get_expr(i.indpred, i.indrelid)
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
    with use_schema(connection, schema), connection.cursor() as cursor:
        cursor.execute(_TABLES, parameters)
        tables = {name: Table(name, kind, tuple(features)) for name, kind, features in cursor.fetchall()}
        for table, *column in _rows(cursor, _COLUMNS, parameters):
            tables[table].columns[column[0]] = Column(*column)
        for table, name, kind, definition, valid, columns, to_table, to_columns in _rows(cursor, _CONSTRAINTS, parameters):
            tables[table].constraints[name] = Constraint(
                name, kind, _as_restored(definition), valid, tuple(columns), to_table, tuple(to_columns)
            )
        for table, name, unique, definition, valid, keys, predicate in _rows(cursor, _INDEXES, parameters):
            tables[table].indexes[name] = Index(name, unique, _BEFORE_INDEX.sub("", definition, count=1), valid, tuple(keys), predicate)
        for table, name, definition, enabled in _rows(cursor, _TRIGGERS, parameters):
            tables[table].triggers[name] = Trigger(name, _NAMES_OF_TRIGGER.sub(r"\1\2 ", definition, count=1), enabled)
    return tables


def _rows(cursor: CursorWrapper, query: str, parameters: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    cursor.execute(query, parameters)
    yield from cursor.fetchall()


def _as_restored(definition: str) -> str:
    """Return the CHECK as PostgreSQL prints it after ``pg_dump`` and a restore: it then casts each text of a list instead of the list."""
    return _VARCHARS.sub(lambda found: f"ARRAY[{', '.join(f'({text})::text' for text in _VARCHAR.findall(found[1]))}]", definition)


def quoted(connection: BaseDatabaseWrapper, name: str) -> str:
    return str(connection.ops.quote_name(name))


@contextmanager
def use_schema(connection: BaseDatabaseWrapper, schema: str) -> Iterator[None]:
    """Put ``schema`` and the schemas of the extensions in ``search_path``, so that SQL and PostgreSQL's definitions name their objects without a schema."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT extnamespace::regnamespace::text FROM pg_extension WHERE extname = ANY(%s)", [list(EXTENSIONS)])
        schemas = [quoted(connection, schema), *(name for (name,) in cursor.fetchall() if name != quoted(connection, schema))]
    with session_settings(connection, search_path=", ".join(schemas)):
        yield
