"""Convert the tables of the guide to those of the migrations while services use them, and record the migrations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from findme.core.db.advisory_lock import AdvisoryLock
from findme.core.db.session import session_settings
from findme.core.errors import UserFacingError
from findme.core.plurals import counted, plural
from findme.migrator.baseline.adoption import AdoptingExecutor, description, table_of_model
from findme.migrator.baseline.catalog import Table, read_tables, use_schema
from findme.migrator.baseline.check_sql import check_definitions
from findme.migrator.baseline.comparison import remaining_differences
from findme.migrator.baseline.execution import run_step
from findme.migrator.baseline.scratch import guide_tables
from findme.migrator.baseline.state import complete_baseline, read_baseline
from findme.migrator.baseline.step import Step
from findme.migrator.baseline.steps import conversion_steps
from findme.migrator.executor import CLIENT_CHECK_INTERVAL, Run
from findme.migrator.migrate import call_django_migrate, use_executor
from findme.migrator.version import schema_version

WORKING_KEY = int.from_bytes(b"baseline", "big")
"""The key of an advisory lock that the working session holds, in addition to the migration lock of the other session."""

WORKING_SECONDS = 60.0
"""How long to wait for the session of a killed run. PostgreSQL ends it when it notices that its client is gone."""

NAMED = 5


@dataclass(frozen=True, slots=True)
class Converted:
    """The steps that this run has done, and the migrations that it recorded or applied, in this order."""

    steps: tuple[str, ...]
    migrations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Existing:
    """The tables to convert, by name, and the apps whose migrations are recorded and not applied."""

    tables: dict[str, Table]
    apps: frozenset[str]


def convert(
    run: Run,
    connection: BaseDatabaseWrapper,
    schema: str,
    target: Mapping[str, Table],
    *,
    on_step: Callable[[str], object] = lambda _: None,
    on_done: Callable[[str], object] = lambda _: None,
    recheck: Callable[[], object] = lambda: None,
) -> Converted:
    """Convert the tables of ``target`` that exist in ``schema``, record their migrations and apply all others.

    Can be interrupted at any time and run again. Each step takes its locks for a moment; no transaction is open between two steps. ``on_step`` is
    called with the description of each step before it, ``on_done`` after it if it is no migration, ``recheck`` once when all triggers that hold rules exist: it raises UserFacingError for rows
    that broke such a rule before its trigger existed.
    Raises UserFacingError for rows that break a rule, for a lock that is not free, and for a remaining difference from ``target``.
    """
    baseline = read_baseline(connection)
    if baseline is not None and baseline.completed_at is not None:
        return Converted((), ())
    _require_current_schema(connection, schema)
    with _working_session(run, connection):
        existing = find_existing(connection, schema, target)
        if not existing.tables:
            raise UserFacingError(
                f"The schema {schema!r} has no table of the guide to convert: nothing was changed. Run manage.py migrate."
            )
        steps_for = _planner(connection, target)
        first = [*_extension_steps(connection), *steps_for(existing.tables)]
        do = partial(_run_steps, run, connection, schema, on_step=on_step, on_done=on_done)
        done = do(first)
        _migrate(run, connection, existing, on_step)
        recheck()
        # The tables that the migrations have created now exist too. A foreign key may refer to one of them.
        tables = read_tables(connection, schema, target)
        done += do(steps_for(tables))
        _require_no_difference(connection, schema, target)
        complete_baseline(connection)
    return Converted(tuple(done), tuple(run.done))


def planned_steps(connection: BaseDatabaseWrapper, schema: str, target: Mapping[str, Table]) -> tuple[Step, ...]:
    """Return what ``convert`` would do now, in this order. Reads only. A step without statements records or applies a migration."""
    existing = find_existing(connection, schema, target)
    steps_for = _planner(connection, target)
    first = [*_extension_steps(connection), *steps_for(existing.tables)]
    later = steps_for(existing.tables | {name: target[name] for name in target.keys() - existing.tables.keys()})
    known = set(first)
    return (*first, *_planned_migrations(connection, existing), *(step for step in later if step not in known))


def _planner(connection: BaseDatabaseWrapper, target: Mapping[str, Table]) -> Callable[[Mapping[str, Table]], list[Step]]:
    """Return the function that computes the steps for the tables that exist."""
    return partial(conversion_steps, target=target, guide=guide_tables(connection), checks=check_definitions(connection))


def _planned_migrations(connection: BaseDatabaseWrapper, existing: Existing) -> Iterator[Step]:
    for migration in schema_version(connection.alias).unapplied:
        yield Step(description(migration, adopted=migration.partition(".")[0] in existing.apps), ())


def _extension_steps(connection: BaseDatabaseWrapper) -> Iterator[Step]:
    """Create the extension of an index before the index."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_trgm')")
        if not cursor.fetchone()[0]:
            yield Step("create the extension pg_trgm", ("CREATE EXTENSION IF NOT EXISTS pg_trgm",))


def find_existing(connection: BaseDatabaseWrapper, schema: str, target: Mapping[str, Table]) -> Existing:
    """Return the tables that the migrations did not create, and their apps, according to the state of the migrations."""
    loader = MigrationLoader(connection)
    app_of = {
        table_of_model(app_label, name, model.options): app_label for (app_label, name), model in loader.project_state().models.items()
    }
    baseline = read_baseline(connection)
    known = baseline.migrations if baseline else ()
    applied = {app for app, name in MigrationRecorder(connection).applied_migrations() if f"{app}.{name}" not in known}
    tables = {name: table for name, table in read_tables(connection, schema, target).items() if app_of[name] not in applied}
    return Existing(tables, frozenset(app_of[name] for name in tables))


def _require_current_schema(connection: BaseDatabaseWrapper, schema: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_schema()")
        (current,) = cursor.fetchone()
    if current != schema:
        raise UserFacingError(
            f"The tables are in the schema {schema!r}, but search_path begins with {current!r}: nothing was changed."
            f" Put {schema!r} first in search_path."
        )


@contextmanager
def _working_session(run: Run, connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Wait until the session of a killed run has ended its statement, so that it changes nothing after this run has read the tables."""

    def busy() -> UserFacingError:
        holder = lock.holder()
        process = f" (process {holder[0]})" if holder else ""
        return UserFacingError(
            f"The session of an earlier run is still active{process}: nothing was changed. Run manage.py {run.command} again later."
        )

    lock = AdvisoryLock(connection, WORKING_KEY)
    with lock.held(WORKING_SECONDS, busy), session_settings(connection, client_connection_check_interval=CLIENT_CHECK_INTERVAL):
        yield


def _run_steps(
    run: Run,
    connection: BaseDatabaseWrapper,
    schema: str,
    steps: Sequence[Step],
    on_step: Callable[[str], object],
    on_done: Callable[[str], object],
) -> list[str]:
    with use_schema(connection, schema):
        for step in steps:
            on_step(step.description)
            run_step(run, connection, step)
            on_done(step.description)
    return [step.description for step in steps]


def _migrate(run: Run, connection: BaseDatabaseWrapper, existing: Existing, on_step: Callable[[str], object]) -> None:
    """Run Django's ``migrate``, which also sends its signals: they create content types and permissions."""
    with use_executor(partial(AdoptingExecutor, existing.apps, frozenset(existing.tables), on_step, run)):
        call_django_migrate(connection.alias)


def _require_no_difference(connection: BaseDatabaseWrapper, schema: str, target: Mapping[str, Table]) -> None:
    found = remaining_differences(read_tables(connection, schema, target), target)
    if found:
        more = ", ..." if len(found) > NAMED else ""
        raise UserFacingError(
            f"{counted(len(found), 'object')} still {plural(len(found), 'differs', 'differ')} from a fresh migrate: {', '.join(found[:NAMED])}{more}."
            " Run manage.py baseline again. If they stay, correct them by hand."
        )
