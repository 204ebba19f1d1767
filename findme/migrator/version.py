"""Compare the applied migrations, as in the view ``schema_version``, with the migrations of the code."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from findme.core.postgresql.diagnosis import require_search_path
from findme.core.postgresql.encoding import encoding_problem
from findme.core.triggers.problems import trigger_problems


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
    """Migrations of the code that are not applied, in the order in which they would be applied."""
    unknown: tuple[str, ...]
    """Applied migrations that the code does not have."""
    problems: tuple[str, ...] = ()
    """Other problems of the database, one line each, for example disabled triggers."""

    @property
    def is_current(self) -> bool:
        return not self.unapplied and not self.unknown


@dataclass(frozen=True, slots=True)
class MigrationFiles:
    """The migrations of the code, as ``app.name``. A long-lived process reads them once: the files of a release do not change."""

    names: frozenset[str]
    plans: tuple[tuple[str, ...], ...]
    """For the last migration of each app: all its dependencies and then itself, in the order of application."""
    are_replaced: bool
    """Whether a migration replaces others. The plan then depends on the database, and must be read again."""

    def unapplied(self, applied: frozenset[str]) -> tuple[str, ...]:
        """Return what Django's ``migrate`` would apply, in that order."""
        missing = (name for plan in self.plans if plan[-1] not in applied for name in plan if name not in applied)
        return tuple(dict.fromkeys(missing))


def read_migration_files(using: str = DEFAULT_DB_ALIAS) -> MigrationFiles:
    return files_of(MigrationLoader(connections[using]))


def files_of(loader: MigrationLoader) -> MigrationFiles:
    return MigrationFiles(
        names=frozenset(map(_name, loader.disk_migrations)),
        plans=tuple(tuple(map(_name, loader.graph.forwards_plan(leaf))) for leaf in loader.graph.leaf_nodes()),
        are_replaced=bool(loader.replacements),
    )


def _name(migration: tuple[str, str]) -> str:
    return ".".join(migration)


def applied_migrations(using: str = DEFAULT_DB_ALIAS) -> tuple[AppliedMigration, ...]:
    """Return the applied migrations in the order of application.

    They are read from Django's table and not from the view, which may have been faked or dropped by hand.
    """
    recorder = MigrationRecorder(connections[using])
    if not recorder.has_table():
        require_search_path(connections[using])
        return ()
    rows = recorder.migration_qs.order_by("id").values_list("app", "name", "applied")
    return tuple(AppliedMigration(version, f"{app}.{name}", applied) for version, (app, name, applied) in enumerate(rows, start=1))


def schema_version(using: str = DEFAULT_DB_ALIAS, files: MigrationFiles | None = None) -> SchemaVersion:
    """Compare the database with ``files``, by default with the current migration files."""
    history = applied_migrations(using)
    files = files or read_migration_files(using)
    applied = frozenset(migration.description for migration in history)
    return SchemaVersion(
        version=len(history),
        history=history,
        unapplied=files.unapplied(applied),
        unknown=tuple(migration.description for migration in history if migration.description not in files.names),
        problems=_problems(using, applied),
    )


def _problems(using: str, applied: frozenset[str]) -> tuple[str, ...]:
    encoding = encoding_problem(connections[using])
    return (*(() if encoding is None else (encoding,)), *map(str, trigger_problems(using, applied)))
