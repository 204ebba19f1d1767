"""Run Django's ``migrate`` under the lock, for the command and for application code."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.core.management import CommandError, call_command
from django.core.management.commands import migrate as django_migrate
from django.db import DEFAULT_DB_ALIAS, InterfaceError, OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations import Migration
from django.db.migrations.exceptions import (
    AmbiguityError,
    InconsistentMigrationHistory,
    IrreversibleError,
    MigrationSchemaMissing,
    NodeNotFoundError,
)
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.state import ProjectState
from psycopg import errors

from findme.core.commands.explanations import explain_error
from findme.core.db.session import without_time_limits
from findme.core.errors import StoreUnavailable, UserFacingError, one_line, without_detail
from findme.core.postgresql.diagnosis import require_search_path
from findme.core.postgresql.encoding import require_utf8
from findme.migrator.baseline.guard import require_adopted
from findme.migrator.earlier_schema import require_current_names
from findme.migrator.executor import LockedExecutor, Run
from findme.migrator.lock import migration_lock, require_own_session
from findme.migrator.timeouts import MigrationTimeouts
from findme.migrator.undo.guard import Consent, guarded_undo
from findme.migrator.undo.plan import Key, RollbackPlan, plan_undo
from findme.migrator.version import applied_migrations

logger = logging.getLogger(__name__)

Plan = list[tuple[Migration, bool]]

NO_CONSENT = Consent()


@dataclass(frozen=True, slots=True)
class Applied:
    """The migrations that this call applied (none if all were applied), and the schema version afterwards."""

    migrations: tuple[str, ...]
    version: int


class StepwiseExecutor(LockedExecutor):
    """Run the first ``steps`` migrations of the plan, or all for None. Undoing needs the operator's consent."""

    def __init__(self, steps: int | None, consent: Consent, *args: Any) -> None:
        super().__init__(*args)
        self.steps, self.consent = steps, consent

    def migration_plan(self, targets: Any, clean_start: bool = False) -> Plan:
        plan: Plan = super().migration_plan(targets, clean_start)
        # With clean_start, Django asks for the order of all migrations, not for the plan.
        return plan if clean_start else plan[: self.steps]

    def migrate(
        self,
        targets: Any,
        plan: Sequence[tuple[Migration, bool]] | None = None,
        state: ProjectState | None = None,
        fake: bool = False,
        fake_initial: bool = False,
    ) -> ProjectState:
        plan = self.migration_plan(targets) if plan is None else plan
        undone = [migration for migration, backwards in plan if backwards]
        with ExitStack() as stack:
            if undone and not fake:
                now = plan_undo(self.loader, undone)
                stack.enter_context(guarded_undo(self.connection, now, self.consent, preview="migrate --plan"))
            after: ProjectState = super().migrate(targets, plan, state, fake, fake_initial)
        return after


def apply_migrations(*, using: str = DEFAULT_DB_ALIAS, timeouts: MigrationTimeouts | None = None, steps: int | None = None) -> Applied:
    """Apply the unapplied migrations, or the first ``steps`` of them, as a service does when it starts.

    Any number of processes may call it at once. It succeeds if there is nothing to do. Raises StoreUnavailable if the database cannot be
    reached, and UserFacingError for every other failure. Without ``timeouts`` it waits as the settings say.
    """
    try:
        with migrating(using=using, timeouts=timeouts, steps=steps) as run:
            call_django_migrate(using)
        return Applied(tuple(run.done), len(applied_migrations(using)))
    except (OperationalError, InterfaceError) as error:
        raise StoreUnavailable(f"PostgreSQL: {one_line(error)}") from error


def call_django_migrate(using: str) -> None:
    try:
        call_command(django_migrate.Command(), database=using, interactive=False, verbosity=0)
    except CommandError as error:
        raise UserFacingError(one_line(error)) from error


def planned_undo(app_label: str, migration_name: str, *, using: str = DEFAULT_DB_ALIAS, steps: int | None = None) -> RollbackPlan:
    """Return what ``migrate app_label migration_name`` would undo: nothing if it goes forward, or if there is no such migration.

    Reads only, without the lock. Raises UserFacingError if it could not be undone completely.
    """
    executor = MigrationExecutor(connections[using])
    target = _target(executor.loader, app_label, migration_name)
    plan = executor.migration_plan([target])[:steps] if target is not None else []
    return plan_undo(executor.loader, [migration for migration, backwards in plan if backwards])


def _target(loader: MigrationLoader, app_label: str, migration_name: str) -> tuple[str, str | None] | None:
    """Return the target for Django's executor, or None if Django's ``migrate`` rejects the names."""
    if app_label not in loader.migrated_apps:
        return None
    if migration_name == "zero":
        return app_label, None
    try:
        target: Key = (app_label, loader.get_migration_by_prefix(app_label, migration_name).name)
    except (AmbiguityError, KeyError):
        return None
    return target if target in loader.graph.nodes else loader.replacements[target].replaces[-1]


@contextmanager
def migrating(
    *,
    using: str = DEFAULT_DB_ALIAS,
    timeouts: MigrationTimeouts | None = None,
    steps: int | None = None,
    consent: Consent = NO_CONSENT,
    fake: bool = False,
    on_warning: Callable[[str], None] = logger.warning,
) -> Iterator[Run]:
    """Hold the lock while Django's ``migrate`` runs inside the block, its signals included.

    Raises UserFacingError if a migration fails, if an undo drops more than ``consent`` accepts, or if the database is not UTF8. Without
    ``fake``, which only changes records, it also does so if ``baseline`` must adopt the tables first.
    """
    require_utf8(connections[using])
    with (
        running("migrate", using=using, timeouts=timeouts or MigrationTimeouts.configured(), on_warning=on_warning) as run,
        use_executor(partial(StepwiseExecutor, steps, consent, run)),
    ):
        if not fake:
            require_adopted(connections[using])
        yield run


@contextmanager
def running(command: str, *, using: str, timeouts: MigrationTimeouts, on_warning: Callable[[str], None]) -> Iterator[Run]:
    """Hold the lock, and raise Django's errors for a history or a database that cannot be migrated as UserFacingError."""
    require_own_session(connections[using])
    with (
        migration_lock(command, using=using, seconds=timeouts.wait_seconds, on_warning=on_warning) as lock,
        without_time_limits(connections[using]),
    ):
        require_search_path(connections[using])
        require_current_names(connections[using])
        try:
            yield Run(command, lock, timeouts, on_warning)
        except MigrationSchemaMissing as error:
            raise UserFacingError(f"The table django_migrations cannot be created: {_table_problem(error.__context__ or error)}") from error
        except (InconsistentMigrationHistory, IrreversibleError, NodeNotFoundError) as error:
            raise UserFacingError(one_line(error)) from error


def _table_problem(error: BaseException) -> str:
    if isinstance(error.__cause__, errors.InsufficientPrivilege):
        return f"{without_detail(error)}. Use the role that owns the database."
    if isinstance(error.__cause__, errors.InvalidSchemaName):
        return f"{without_detail(error)}. Create the schema that search_path names, or correct search_path."
    return explain_error(error) or f"{without_detail(error)}."


@contextmanager
def use_executor(executor: Callable[[BaseDatabaseWrapper, Callable[..., None]], MigrationExecutor]) -> Iterator[None]:
    """Make Django's ``migrate`` use ``executor``, by replacing the class in its module: Django has no other way to pass one.

    The class is a global of the process. The caller holds the lock, so no other process migrates this database. No process migrates two
    databases from two threads.
    """
    module: Any = django_migrate
    original = module.MigrationExecutor
    module.MigrationExecutor = executor
    try:
        yield
    finally:
        module.MigrationExecutor = original
