"""The tables that the migrations, and the migration guide, would create: created in a schema of their own, read, and rolled back.

So the server itself says how it describes them, whatever its version. Nothing of the existing tables is locked.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations import Migration
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder

from findme.core.db.session import one_transaction
from findme.migrator.baseline.catalog import Table, quoted, read_tables

GUIDE_FOLDER = Path(__file__).parent / "guide"
GUIDE_TABLES = ("users", "videos", "matches", "video_calls")
"""The tables of the guide's migrations 1 to 4, in this order."""

_UUID_OSSP = re.compile(r'^CREATE EXTENSION IF NOT EXISTS "uuid-ossp";$', re.MULTILINE)
_STAND_IN = "CREATE FUNCTION uuid_generate_v4() RETURNS uuid LANGUAGE sql AS 'SELECT gen_random_uuid()'"


@dataclass(frozen=True, slots=True)
class Relation:
    """A table, view, index or sequence. ``kind`` is ``pg_class.relkind``, ``table`` is that of an index, ``migration`` (``app.name``) creates it."""

    kind: str
    table: str | None
    migration: str


@dataclass(frozen=True, slots=True)
class Function:
    """``body`` has single spaces. ``options`` are SECURITY DEFINER and the function's settings, usually none."""

    language: str
    body: str
    options: str = ""


@dataclass(frozen=True, slots=True)
class MigratedSchema:
    """What a fresh ``migrate`` creates: tables and views, all relations by name, and functions by ``name(arguments)``."""

    tables: dict[str, Table]
    relations: dict[str, Relation]
    functions: dict[str, Function]
    creators: dict[str, str]
    """The migration that creates each function."""


_RELATIONS = """
    SELECT c.relname::text, c.relkind::text, t.relname::text FROM pg_class c
    LEFT JOIN pg_index i ON i.indexrelid = c.oid LEFT JOIN pg_class t ON t.oid = i.indrelid
    WHERE c.relnamespace = %s::regnamespace AND c.relkind NOT IN ('t', 'c')
"""
_FUNCTIONS = """
    SELECT p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')', l.lanname::text, regexp_replace(btrim(p.prosrc, E' \\n\\r\\t'), '\\s+', ' ', 'g'),
        concat_ws(' ', CASE WHEN p.prosecdef THEN 'SECURITY DEFINER' END, array_to_string(p.proconfig, ' '))
    FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
    WHERE p.pronamespace = %s::regnamespace AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
"""


def migrated_schema(connection: BaseDatabaseWrapper) -> MigratedSchema:
    """Return what a fresh ``migrate`` creates. Takes some seconds."""
    relations: dict[str, Relation] = {}
    creators: dict[str, str] = {}
    with _scratch_schema(connection) as schema:
        for migration in _migrate(connection):
            found = read_relations(connection, schema)
            relations = {name: relations.get(name, Relation(*relation, str(migration))) for name, relation in found.items()}
            creators |= {name: creators.get(name, str(migration)) for name in read_functions(connection, schema)}
        tables = read_tables(connection, schema, [name for name, relation in relations.items() if relation.kind in ("r", "v")])
        return MigratedSchema(tables, relations, read_functions(connection, schema), creators)


def read_relations(connection: BaseDatabaseWrapper, schema: str) -> dict[str, tuple[str, str | None]]:
    """Return the kind (``pg_class.relkind``) of each relation in the schema, and the table of an index."""
    with connection.cursor() as cursor:
        cursor.execute(_RELATIONS, [quoted(connection, schema)])
        return {name: (kind, table) for name, kind, table in cursor.fetchall()}


def read_functions(connection: BaseDatabaseWrapper, schema: str) -> dict[str, Function]:
    """Return the functions in the schema that belong to no extension, by ``name(arguments)``."""
    with connection.cursor() as cursor:
        cursor.execute(_FUNCTIONS, [quoted(connection, schema)])
        return {name: Function(*function) for name, *function in cursor.fetchall()}


def migrated_tables(connection: BaseDatabaseWrapper, names: Collection[str]) -> dict[str, Table]:
    """Return the tables ``names`` as a fresh ``migrate`` creates them. Takes some seconds."""
    with _scratch_schema(connection) as schema:
        for _ in _migrate(connection):
            pass
        return read_tables(connection, schema, names)


def _migrate(connection: BaseDatabaseWrapper) -> Iterator[Migration]:
    """Run all migrations in the scratch schema, and yield each when it is done."""
    with connection.schema_editor() as editor:
        editor.create_model(MigrationRecorder.Migration)  # a view of the first migration reads it
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes(), clean_start=True)
    state = executor._create_project_state()  # type: ignore[attr-defined]  # what Django's migrate calls
    for migration, _ in plan:
        with connection.schema_editor(atomic=migration.atomic) as editor:
            state = migration.apply(state, editor)
        yield migration


def guide_tables(connection: BaseDatabaseWrapper, version: int = len(GUIDE_TABLES)) -> dict[str, Table]:
    """Return the tables as the first ``version`` migrations of the guide create them."""
    with _scratch_schema(connection) as schema, connection.cursor() as cursor:
        cursor.execute(_STAND_IN)  # also if there is such a function: that of another schema would be printed with its schema
        for number in range(1, version + 1):
            cursor.execute(guide_sql(number))
        return read_tables(connection, schema, GUIDE_TABLES)


def guide_file(number: int) -> Path:
    """Return the file of a migration of the guide."""
    (path,) = GUIDE_FOLDER.glob(f"{number:06}_*.up.sql")
    return path


def guide_sql(number: int) -> str:
    """Return a migration of the guide, without the extension uuid-ossp, which not every server has."""
    return _UUID_OSSP.sub("", guide_file(number).read_text())


@contextmanager
def _scratch_schema(connection: BaseDatabaseWrapper) -> Iterator[str]:
    """Create a schema in a transaction, put it first in ``search_path``, and roll back at the end of the block."""
    schema = f"baseline_{secrets.token_hex(8)}"
    with one_transaction(connection, durable=True), connection.cursor() as cursor:
        cursor.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
        cursor.execute(f"CREATE SCHEMA {schema}")
        cursor.execute("SELECT set_config('search_path', %s || ', ' || current_setting('search_path'), true)", [schema])
        yield schema
        transaction.set_rollback(True, using=connection.alias)
