"""Which migrations are applied: what the view ``schema_version`` says, and how it compares with the code."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder

from findme.schema.encoding import encoding_problem
from findme.schema.search_path import require_search_path
from findme.schema.triggers import trigger_problems


@dataclass(frozen=True, slots=True)
class AppliedMigration:
    """One row of the view: ``version`` is the position in the order of application, ``description`` is ``app.name``."""

    version: int
    description: str
    applied_at: datetime


@dataclass(frozen=True, slots=True)
class SchemaVersion:
    """The version, 0 for an empty database, and the migrations in the order of application."""

    version: int
    history: tuple[AppliedMigration, ...]
    unapplied: tuple[str, ...]
    """Migrations of the code that are not applied, in the order in which they would be."""
    unknown: tuple[str, ...]
    """Applied migrations that the code does not have."""
    problems: tuple[str, ...] = ()
    """What is wrong with the database although its migrations are applied, one line each."""

    @property
    def is_current(self) -> bool:
        return not self.unapplied and not self.unknown


def applied_migrations(using: str = DEFAULT_DB_ALIAS) -> tuple[AppliedMigration, ...]:
    """In the order of application. Read from the table under the view: true also where the view was only faked, or dropped by hand."""
    recorder = MigrationRecorder(connections[using])
    if not recorder.has_table():
        require_search_path(connections[using])
        return ()
    rows = recorder.migration_qs.order_by("id").values_list("app", "name", "applied")
    return tuple(AppliedMigration(version, f"{app}.{name}", applied) for version, (app, name, applied) in enumerate(rows, start=1))


def schema_version(using: str = DEFAULT_DB_ALIAS) -> SchemaVersion:
    history = applied_migrations(using)
    executor = MigrationExecutor(connections[using])
    unapplied = executor.migration_plan(executor.loader.graph.leaf_nodes())
    known = {f"{app}.{name}" for app, name in executor.loader.disk_migrations}
    return SchemaVersion(
        version=len(history),
        history=history,
        unapplied=tuple(str(migration) for migration, _ in unapplied),
        unknown=tuple(applied.description for applied in history if applied.description not in known),
        problems=_problems(using),
    )


def _problems(using: str) -> tuple[str, ...]:
    encoding = encoding_problem(connections[using])
    return (*(() if encoding is None else (encoding,)), *map(str, trigger_problems(using)))
