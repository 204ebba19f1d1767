"""Find the data that a rollback deletes: tables with their rows, columns with their values."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations import Migration, RunSQL, SeparateDatabaseAndState
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState

from findme.core.errors import UserFacingError
from findme.core.plurals import counted

Name = tuple[str, str | None]
"""A table, and a column or None for the whole table. Both are quoted for SQL if necessary."""

FILLED_BY_MIGRATE = {"django_content_type", "auth_permission"}
"""Django's tables with a row for each model. Every ``migrate`` creates these rows again; granted permissions are in other tables."""

_NAME = r'(?:"[^"]+"|\w+)(?:\.(?:"[^"]+"|\w+))?'
_DROP_TABLE = re.compile(rf"\bDROP\s+TABLE\s+(?:IF\s+EXISTS\s+)?({_NAME}(?:\s*,\s*{_NAME})*)", re.IGNORECASE)
_ALTER_TABLE = re.compile(rf"\bALTER\s+TABLE\s+(?:IF\s+EXISTS\s+)?(?:ONLY\s+)?({_NAME})([^;]*)", re.IGNORECASE)
_DROP_COLUMN = re.compile(rf"\bDROP\s+COLUMN\s+(?:IF\s+EXISTS\s+)?({_NAME})", re.IGNORECASE)


def filled_by_migrate() -> set[str]:
    """Return the tables whose rows ``migrate`` creates. A model of the project declares it by the attribute ``filled_by_migrate``."""
    return FILLED_BY_MIGRATE | {model._meta.db_table for model in apps.get_models() if getattr(model, "filled_by_migrate", False)}


@dataclass(frozen=True, slots=True)
class DataLoss:
    """``count`` rows of a table, or values other than NULL of a column."""

    table: str
    column: str | None
    count: int

    @property
    def is_significant(self) -> bool:
        return self.count > 0 and self.table not in filled_by_migrate()

    def is_within(self, accepted: Iterable[DataLoss]) -> bool:
        """Return whether ``accepted`` covers this loss: the table or column has no more rows or values than accepted.

        An accepted loss of a table also covers its columns.
        """
        return any(self.table == other.table and other.column in (None, self.column) and self.count <= other.count for other in accepted)

    def __str__(self) -> str:
        if self.column is None:
            made = ", created by migrate" if self.table in filled_by_migrate() else ""
            return f"table {self.table} ({counted(self.count, 'row')}{made})"
        return f"column {self.table}.{self.column} ({counted(self.count, 'value')})"


def find_losses(
    connection: BaseDatabaseWrapper, undone: Iterable[Migration], before: ProjectState, after: ProjectState
) -> tuple[DataLoss, ...]:
    """Return the existing tables and columns that undoing ``undone`` drops, tables first.

    These are the tables and columns that the models have in the state ``before`` and not in ``after``, and those that the reverse SQL drops.
    """
    names = _removed_names(connection, before, after) | {name for migration in undone for name in _dropped_by_sql(migration.operations)}
    found = {loss for name in names if (loss := count(connection, name)) is not None}
    tables = {loss.table for loss in found if loss.column is None}
    kept = [loss for loss in found if loss.column is None or loss.table not in tables]
    return tuple(sorted(kept, key=lambda loss: (loss.column is not None, loss.table, loss.column or "")))


def prevent_data_loss(
    accepted: Sequence[DataLoss], execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]
) -> Any:
    """Wrap ``connection.execute_wrapper``: count a table's rows again under its lock, just before it is dropped.

    Raises UserFacingError if rows beyond ``accepted`` were written since the plan was made.
    """
    connection: BaseDatabaseWrapper = context["connection"]
    for table, column in dropped_by(str(sql)):
        if connection.in_atomic_block and count(connection, (table, column)) is not None:
            with connection.cursor() as cursor:
                cursor.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        loss = count(connection, (table, column))
        if loss is not None and loss.is_significant and not loss.is_within(accepted):
            raise UserFacingError(f"New data was written to {loss} after the check: it was not dropped. To drop it too, add --force.")
    return execute(sql, params, many, context)


def dropped_by(sql: str) -> Iterator[Name]:
    """Yield the names in the DROP TABLE and DROP COLUMN clauses of ``sql``."""
    for tables in _DROP_TABLE.findall(sql):
        yield from ((table, None) for table in re.findall(_NAME, tables))
    for table, actions in _ALTER_TABLE.findall(sql):
        yield from ((table, column) for column in _DROP_COLUMN.findall(actions))


def count(connection: BaseDatabaseWrapper, name: Name) -> DataLoss | None:
    """Count the rows of a table or the values of a column; None if it does not exist, or if the column is generated."""
    table, column = name
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT c.oid::regclass::text, quote_ident(a.attname)
            FROM pg_class c LEFT JOIN pg_attribute a
                ON a.attrelid = c.oid AND quote_ident(a.attname) = quote_ident((parse_ident(%(column)s))[1]) AND a.attgenerated = ''
            WHERE c.oid = to_regclass(%(table)s) AND c.relkind IN ('r', 'p') AND (%(column)s::text IS NULL OR a.attname IS NOT NULL)
            """,
            {"table": table, "column": column},
        )
        if (found := cursor.fetchone()) is None:
            return None
        table, column = found
        cursor.execute(f"SELECT count({column or '*'}) FROM {table}")  # noqa: S608  # names that PostgreSQL has just quoted
        return DataLoss(table, column, cursor.fetchone()[0])


def _removed_names(connection: BaseDatabaseWrapper, before: ProjectState, after: ProjectState) -> set[Name]:
    quote = connection.ops.quote_name
    remaining = columns_of(after)
    removed: set[Name] = set()
    for table, columns in columns_of(before).items():
        if table not in remaining:
            removed.add((quote(table), None))
        else:
            removed |= {(quote(table), quote(column)) for column in columns - remaining[table]}
    return removed


def columns_of(state: ProjectState) -> dict[str, set[str]]:
    """Return the columns by table, including the tables of many-to-many fields."""
    models = state.clone().apps.get_models(include_auto_created=True)
    return {
        model._meta.db_table: {str(field.column) for field in model._meta.local_concrete_fields}
        for model in models
        if model._meta.managed and not model._meta.proxy
    }


def _dropped_by_sql(operations: Sequence[Operation]) -> Iterator[Name]:
    for operation in operations:
        if isinstance(operation, SeparateDatabaseAndState):
            yield from _dropped_by_sql(operation.database_operations)
        elif isinstance(operation, RunSQL):
            yield from dropped_by(str(operation.reverse_sql))
