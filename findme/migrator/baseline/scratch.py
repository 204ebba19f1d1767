"""The tables that the migrations, and the migration guide, would create: created in a schema of their own, read, and rolled back.

So the server itself says how it describes them, whatever its version. Nothing of the existing tables is locked.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor

from findme.migrator.baseline.catalog import Table, read_tables

GUIDE_FOLDER = Path(__file__).parent / "guide"
GUIDE_TABLES = ("users", "videos", "matches", "video_calls")
"""The tables of the guide's migrations 1 to 4, in this order."""

_UUID_OSSP = re.compile(r'^CREATE EXTENSION IF NOT EXISTS "uuid-ossp";$', re.MULTILINE)
_STAND_IN = "CREATE FUNCTION uuid_generate_v4() RETURNS uuid LANGUAGE sql AS 'SELECT gen_random_uuid()'"


def migrated_tables(connection: BaseDatabaseWrapper, names: Collection[str]) -> dict[str, Table]:
    """Return the tables ``names`` as a fresh ``migrate`` creates them. Takes some seconds."""
    with _scratch_schema(connection) as schema:
        executor = MigrationExecutor(connection)
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes(), clean_start=True)
        state = executor._create_project_state()  # type: ignore[attr-defined]  # what Django's migrate calls
        for migration, _ in plan:
            with connection.schema_editor(atomic=migration.atomic) as editor:
                state = migration.apply(state, editor)
        return read_tables(connection, schema, names)


def guide_tables(connection: BaseDatabaseWrapper, version: int = len(GUIDE_TABLES)) -> dict[str, Table]:
    """Return the tables as the first ``version`` migrations of the guide create them."""
    with _scratch_schema(connection) as schema, connection.cursor() as cursor:
        cursor.execute("SELECT to_regprocedure('uuid_generate_v4()') IS NULL")
        if cursor.fetchone()[0]:
            cursor.execute(_STAND_IN)
        for number in range(1, version + 1):
            cursor.execute(guide_sql(number))
        return read_tables(connection, schema, GUIDE_TABLES)


def guide_sql(number: int) -> str:
    """Return a migration of the guide, without the extension uuid-ossp, which not every server has."""
    (path,) = GUIDE_FOLDER.glob(f"{number:06}_*.up.sql")
    return _UUID_OSSP.sub("", path.read_text())


@contextmanager
def _scratch_schema(connection: BaseDatabaseWrapper) -> Iterator[str]:
    """Create a schema in a transaction, put it first in ``search_path``, and roll back at the end of the block."""
    schema = f"baseline_{secrets.token_hex(8)}"
    with transaction.atomic(using=connection.alias, durable=True), connection.cursor() as cursor:
        cursor.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
        cursor.execute(f"CREATE SCHEMA {schema}")
        cursor.execute("SELECT set_config('search_path', %s || ', ' || current_setting('search_path'), true)", [schema])
        yield schema
        transaction.set_rollback(True, using=connection.alias)
