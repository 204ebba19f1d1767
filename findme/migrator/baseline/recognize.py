"""Recognize the tables of the migration guide by the catalog, before anything is changed."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from django.db import DataError, IntegrityError, InternalError, NotSupportedError, ProgrammingError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.loader import MigrationLoader

from findme.core.errors import UserFacingError, without_detail
from findme.core.postgresql.diagnosis import refusal_reason, require_search_path
from findme.core.postgresql.encoding import require_utf8
from findme.migrator.baseline.catalog import Table, quoted, read_tables
from findme.migrator.baseline.differences import differences, kept
from findme.migrator.baseline.guard import CREATORS, tables_to_adopt
from findme.migrator.baseline.recognized import Difference, Recognized
from findme.migrator.baseline.refusals import find_schema, golang_version, require_extension, require_permission, require_release
from findme.migrator.baseline.scratch import GUIDE_TABLES, MigratedSchema, guide_file, guide_tables, migrated_schema, read_relations
from findme.migrator.baseline.state import read_baseline
from findme.migrator.baseline.taken import own_name, own_relations, taken_names
from findme.migrator.undo.data_loss import columns_of

NEEDS = {"videos": ("users",), "matches": ("users",), "video_calls": ("users", "matches")}
"""The tables that the foreign keys of each table refer to."""


def recognize(connection: BaseDatabaseWrapper) -> Recognized:
    """Compare the tables of the guide with the guide and with the migrations. Takes some seconds, and changes nothing.

    Raises UserFacingError if the server, the database or the role cannot be used, if there are no tables of the guide, and if
    golang-migrate left its version dirty.
    """
    require_release(connection)
    require_utf8(connection)
    require_search_path(connection)
    schema = find_schema(connection)
    existing = read_tables(connection, schema, GUIDE_TABLES)
    tables = {name: existing[name] for name in GUIDE_TABLES if name in existing}
    loader = MigrationLoader(connection)
    missing = _missing_columns(loader, tables) if read_baseline(connection) is None else []
    if not (missing or tables_to_adopt(connection)):
        _require_tables(loader, tables)
        return Recognized(schema, tables, is_adopted=True)
    version = golang_version(connection, schema, tables)
    require_permission(connection, schema)
    require_extension(connection)
    guide, migrated = _expected(connection)
    recorded = {".".join(key) for key in loader.applied_migrations or ()}
    found = [
        *_wrong_records(connection, loader, missing, tables, migrated, schema),
        *_missing_tables(tables, version),
        *(one for name, table in tables.items() for one in differences(table, _possible(guide[name], tables), migrated.tables[name])),
        *_foreign_flags(connection, tables, guide, migrated.tables),
        *taken_names(connection, schema, migrated, recorded),
    ]
    own = [
        *(one for name, table in tables.items() for one in kept(table, guide[name], migrated.tables[name])),
        *own_relations(connection, schema, migrated),
    ]
    return Recognized(
        schema,
        tables,
        guide,
        {name: migrated.tables[name] for name in GUIDE_TABLES},
        version,
        tuple(found),
        tuple(own),
    )


def _possible(guide: Table, tables: Collection[str]) -> Table:
    """Return the guide's table without the foreign keys to tables that do not exist: the missing table comes first."""
    return replace(
        guide, constraints={name: one for name, one in guide.constraints.items() if one.to_table is None or one.to_table in tables}
    )


def _expected(connection: BaseDatabaseWrapper) -> tuple[dict[str, Table], MigratedSchema]:
    try:
        return guide_tables(connection), migrated_schema(connection)
    except InternalError as error:
        # PostgreSQL reports a read-only transaction so.
        if (reason := refusal_reason(error)) is None:
            raise
        raise UserFacingError(
            f"To compare the tables, also with --plan, baseline creates others and rolls them back: nothing was changed. But {reason}"
        ) from error
    except (DataError, IntegrityError, NotSupportedError, ProgrammingError) as error:
        raise UserFacingError(
            f"The migrations cannot run in a schema of their own: {without_detail(error)}. Nothing was changed."
        ) from error


def _missing_columns(loader: MigrationLoader, tables: dict[str, Table]) -> list[str]:
    """Return the columns (``table.column``) that the tables lack although the migrations that create them are recorded as applied."""
    keys = [key for key in loader.applied_migrations or () if key in loader.graph.nodes]
    columns = columns_of(loader.project_state(keys)) if keys else {}
    return [f"{name}.{column}" for name, table in tables.items() for column in sorted(columns.get(name, set()) - table.columns.keys())]


def _require_tables(loader: MigrationLoader, tables: Collection[str]) -> None:
    """Raise UserFacingError if a table is gone, as after ``migrate down`` of golang-migrate."""
    recorded = {".".join(key) for key in loader.applied_migrations or ()}
    gone = [name for name in GUIDE_TABLES if name not in tables and CREATORS[name] in recorded]
    if gone:
        raise UserFacingError(f"The table {gone[0]!r} was dropped after it was adopted: nothing was changed. Restore it from a backup.")


def _wrong_records(
    connection: BaseDatabaseWrapper,
    loader: MigrationLoader,
    missing: list[str],
    tables: Collection[str],
    migrated: MigratedSchema,
    schema: str,
) -> Iterator[Difference]:
    """Yield the apps whose migrations were recorded and did not run, as ``migrate --fake-initial`` leaves them when it fails.

    An app that depends on one of them did run. Its empty tables are dropped, and created again.
    """
    if not missing:
        return
    existing, recorded = read_relations(connection, schema), [key for key in loader.applied_migrations or () if key in loader.graph.nodes]
    absent = {one.migration for name, one in migrated.relations.items() if one.kind in ("r", "v") and name not in existing}
    wrong = {key for key in recorded if ".".join(key) in absent | {CREATORS[name] for name in tables}}
    apps = {key[0] for key in wrong}
    dependent = {key[0] for key in recorded if not wrong.isdisjoint(loader.graph.forwards_plan(key))} - apps
    created = [name for name, one in migrated.relations.items() if one.kind == "r" and one.migration.partition(".")[0] in dependent]
    dropped = [f"DROP TABLE {name};" for name in created if name in existing and _is_empty(connection, name)]
    listed = ", ".join(f"'{name}'" for name in sorted(apps | dependent))
    statement = " ".join([*dropped, f"DELETE FROM django_migrations WHERE app IN ({listed});"])  # noqa: S608  # labels of apps
    found = f"migrations of {', '.join(sorted(apps))}, but no column {missing[0]}"
    yield Difference("table django_migrations", found, "no record of these apps", statement)


def _is_empty(connection: BaseDatabaseWrapper, table: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT NOT EXISTS (SELECT FROM {quoted(connection, table)})")  # noqa: S608  # quoted
        return bool(cursor.fetchone()[0])


def _foreign_flags(
    connection: BaseDatabaseWrapper, tables: dict[str, Table], guide: dict[str, Table], target: dict[str, Table]
) -> Iterator[Difference]:
    """Yield the columns of another program that would give its users rights in FindMe: ``is_staff`` and ``is_superuser``.

    The conversion adds them with false in every row.
    """
    with connection.cursor() as cursor:
        for name, table in tables.items():
            for column in target[name].columns.keys() & table.columns.keys() - guide[name].columns.keys():
                if table.columns[column].type != "boolean" or target[name].columns[column].default != "false":
                    continue
                cursor.execute(f"SELECT EXISTS (SELECT FROM {name} WHERE {column})")  # noqa: S608  # names of the migrations
                if cursor.fetchone()[0]:
                    statement = f"ALTER TABLE {name} RENAME COLUMN {column} TO {own_name(column)};"
                    yield Difference(f"column {name}.{column}", "true in some rows", "false in every row, or no such column", statement)


def _missing_tables(tables: Collection[str], version: int | None) -> Iterator[Difference]:
    for number, name in enumerate(GUIDE_TABLES, start=1):
        needed_by = [other for other in GUIDE_TABLES if other in tables and name in NEEDS.get(other, ())]
        if name in tables or not (needed_by or (version is not None and version >= number)):
            continue
        why = (
            f"a table, because {needed_by[0]} refers to it"
            if needed_by
            else f"a table, because the version in schema_migrations is {version}"
        )
        yield Difference(f"table {name}", "no such table", why, rf"\i {guide_file(number)}")
