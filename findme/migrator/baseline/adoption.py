"""Record the migrations whose tables exist, and apply all others."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from functools import cache, partial
from typing import Any

from django.apps import apps
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations import AddField, CreateModel, Migration, SeparateDatabaseAndState
from django.db.migrations.operations.base import Operation
from django.db.migrations.operations.models import ModelOperation
from django.db.migrations.state import ProjectState

from findme.core.db.operations import SqlFile
from findme.core.triggers.definitions import Trigger, TriggerFunction, expected_triggers
from findme.core.triggers.problems import trigger_problems
from findme.migrator.baseline.state import add_to_baseline
from findme.migrator.baseline.step import quote
from findme.migrator.executor import LockedExecutor, Run
from findme.migrator.table_locks import BLOCK_ALL, BLOCK_WRITES, lock_tables
from findme.migrator.trigger_repair import repair_statements

_DDL = re.compile(r"\b(?:CREATE|ALTER|DROP)\b", re.IGNORECASE)
_NO_LOCK = re.compile(r"--[^\n]*|(\$\w*\$).*?\1", re.DOTALL)
"""Comments, and bodies of functions."""
_WORD = re.compile(r"\w+")
# A word can also be the name of the owner's own table.
_NAMED_TABLES = """
    SELECT relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
    WHERE relname = ANY(%s) AND relkind IN ('r', 'p') AND nspname = current_schema() AND pg_has_role(relowner, 'USAGE') ORDER BY 1
"""
_DROP = re.compile(r"\bDROP\b", re.IGNORECASE)


class AdoptingExecutor(LockedExecutor):
    """Apply the migrations, but adopt those of the apps ``adopted``, whose tables in ``tables`` exist with all their constraints and indexes."""

    def __init__(
        self,
        adopted: Collection[str],
        tables: Collection[str],
        on_step: Callable[[str], object],
        run: Run,
        connection: BaseDatabaseWrapper,
        progress_callback: Callable[..., None] | None = None,
    ) -> None:
        super().__init__(run, connection, progress_callback)
        self.adopted, self.tables, self.on_step = adopted, tables, on_step

    def apply_migration(self, state: ProjectState, migration: Migration, fake: bool = False, fake_initial: bool = False) -> ProjectState:
        is_adopted = migration.app_label in self.adopted
        self.on_step(description(str(migration), adopted=is_adopted))
        if is_adopted:
            migration = adopted_migration(migration, self.tables)
        with self.connection.execute_wrapper(partial(_lock_named_tables, self._written_first(migration.app_label))):
            return super().apply_migration(state, migration, fake, fake_initial)

    def _written_first(self, app_label: str) -> list[str]:
        """Return the existing tables whose triggers read and write tables of the app.

        A writer that holds a table of the app holds one of these too. So once they are locked, the tables of the app are free.
        """
        tables = {trigger.table for trigger in expected_triggers().triggers if trigger.migration.startswith(f"{app_label}.")}
        return sorted(tables & set(self.tables))


def description(migration: str, *, adopted: bool) -> str:
    return f"{'record' if adopted else 'apply'} the migration {migration}"


def adopted_migration(migration: Migration, tables: Collection[str]) -> Migration:
    """Return a migration that does in the database only what is not already true there, and adds itself to the baseline.

    It runs in one transaction: nothing of it needs a table for long.
    """
    adopted = type(migration)(migration.name, migration.app_label)
    operations = [AdoptedOperation(operation, str(migration), tables) for operation in migration.operations]
    vars(adopted).update(atomic=True, operations=[*operations, AddToBaseline(str(migration))])
    return adopted


class AdoptedOperation(Operation):
    """An operation of a migration whose tables exist.

    It does nothing to these tables, except that it creates their missing triggers. Data statements run, and so does what concerns other tables:
    the tables of many-to-many fields do not exist yet.
    """

    def __init__(self, operation: Operation, migration: str, tables: Collection[str]) -> None:
        self.operation, self.migration, self.tables = operation, migration, tables

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        self.operation.state_forwards(app_label, state)

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        operation = self.operation
        if isinstance(operation, SeparateDatabaseAndState):
            self._each_of(operation, app_label, schema_editor, from_state)
        elif isinstance(operation, SqlFile) and expected_triggers({self.migration}).triggers:
            _create_missing_triggers(schema_editor, self.migration)
        elif _table_of(operation, app_label, from_state, to_state) not in self.tables:
            operation.database_forwards(app_label, schema_editor, from_state, to_state)
        elif isinstance(operation, CreateModel | AddField):
            _create_tables_of_many_to_many(schema_editor, to_state.apps.get_model(app_label, _model_name(operation)))

    def _each_of(
        self, operation: SeparateDatabaseAndState, app_label: str, schema_editor: BaseDatabaseSchemaEditor, state: ProjectState
    ) -> None:
        for one in operation.database_operations:
            after = state.clone()
            one.state_forwards(app_label, after)
            AdoptedOperation(one, self.migration, self.tables).database_forwards(app_label, schema_editor, state, after)
            state = after

    def describe(self) -> str:
        return str(self.operation.describe())


class AddToBaseline(Operation):
    def __init__(self, migration: str) -> None:
        self.migration = migration

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Do nothing: the table has no model."""

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        add_to_baseline(schema_editor.connection, self.migration)

    def describe(self) -> str:
        return f"Add {self.migration} to the baseline"


def _model_name(operation: Operation) -> str:
    """Return the model of the operation, or an empty text."""
    return str(getattr(operation, "model_name", None) or (operation.name if isinstance(operation, ModelOperation) else ""))


def _table_of(operation: Operation, app_label: str, from_state: ProjectState, to_state: ProjectState) -> str | None:
    """Return the table that the operation changes, or None for SQL and Python."""
    key = (app_label, _model_name(operation).lower())
    model = to_state.models.get(key) or from_state.models.get(key)
    return None if model is None else table_of_model(*key, model.options)


def table_of_model(app_label: str, name: str, options: dict[str, Any]) -> str:
    return str(options.get("db_table") or f"{app_label}_{name}")


def _create_missing_triggers(schema_editor: BaseDatabaseSchemaEditor, migration: str) -> None:
    """Create the triggers and functions of the migration that are missing or different. The other statements of its file are not needed."""
    problems = [
        one for one in trigger_problems(schema_editor.connection.alias, {migration}) if isinstance(one.about, Trigger | TriggerFunction)
    ]
    for statement in repair_statements(problems):
        schema_editor.execute(statement, params=None)


def _create_tables_of_many_to_many(schema_editor: BaseDatabaseSchemaEditor, model: Any) -> None:
    connection = schema_editor.connection
    with connection.cursor() as cursor:
        tables = connection.introspection.table_names(cursor)
    for field in model._meta.local_many_to_many:
        through = field.remote_field.through
        if through._meta.auto_created and through._meta.db_table not in tables:
            schema_editor.create_model(through)


def _lock_named_tables(
    first: Sequence[str], execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]
) -> Any:
    """Wrap ``connection.execute_wrapper``: before DDL, lock the tables ``first``, then those of models that it names and that exist.

    So no writer fails with a deadlock.
    """
    connection, text = context["connection"], _NO_LOCK.sub("", str(sql))
    if connection.in_atomic_block and _DDL.search(text):
        mode = BLOCK_ALL if _DROP.search(text) else BLOCK_WRITES
        with connection.cursor() as cursor:
            cursor.execute(_NAMED_TABLES, [list(_tables_of_models().intersection(_WORD.findall(text)))])
            named = [table for (table,) in cursor.fetchall()]
            modes = dict.fromkeys(first, BLOCK_WRITES) | dict.fromkeys(named, mode)
            lock_tables(cursor, [(quote(table), mode) for table, mode in modes.items()])
    return execute(sql, params, many, context)


@cache
def _tables_of_models() -> frozenset[str]:
    return frozenset(model._meta.db_table for model in apps.get_models(include_auto_created=True))
