"""Run one migration under the lock, in one transaction with its record.

It runs with a ``lock_timeout`` and is tried again if a lock was not free.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

from django.db import Error
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations import Migration
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.state import ProjectState

from findme.core.db.operations import sql_location
from findme.core.db.session import one_transaction, session_settings
from findme.core.errors import UserFacingError, without_detail
from findme.core.plurals import counted
from findme.core.postgresql.diagnosis import refusal_reason
from findme.migrator.attempts import repeat_while_locked
from findme.migrator.concurrently import no_lock_timeout_for_concurrently
from findme.migrator.diagnostics import describe_leftovers, is_lock_unavailable, oldest_transaction
from findme.migrator.lock import MigrationLock
from findme.migrator.long_waits import long_waits_reported
from findme.migrator.timeouts import MigrationTimeouts

CLIENT_CHECK_INTERVAL = "1s"
"""How soon PostgreSQL notices that the migrating process was killed, and ends its statement."""

ATTEMPT_FAILED = "attempt_failed"
"""An action for the progress callback in addition to Django's. It is sent before the failure is reported."""


@dataclass(slots=True)
class Run:
    """One run of ``migrate`` or ``rollback``: its lock, its timeouts, its callbacks, and the migrations done so far."""

    command: str
    lock: MigrationLock
    timeouts: MigrationTimeouts
    on_warning: Callable[[str], None]
    on_done: Callable[[str], object] = str
    """Called with the name of each migration when it is done."""
    done: list[str] = field(default_factory=list)


class LockedExecutor(MigrationExecutor):
    """Record an atomic migration in its own transaction, and only while the lock is held.

    Django's executor records some migrations in a second transaction. A process that is killed between the two leaves a migration that is
    applied and not recorded.
    """

    def __init__(self, run: Run, connection: BaseDatabaseWrapper, progress_callback: Callable[..., None] | None = None) -> None:
        super().__init__(connection, progress_callback)
        self.run = run

    def apply_migration(self, state: ProjectState, migration: Migration, fake: bool = False, fake_initial: bool = False) -> ProjectState:
        apply = super().apply_migration
        # Applying a migration changes the state, so each attempt gets a copy.
        return self._attempts("applied", migration, lambda: apply(state.clone(), migration, fake, fake_initial))

    def unapply_migration(self, state: ProjectState, migration: Migration, fake: bool = False) -> ProjectState:
        unapply = super().unapply_migration
        return self._attempts("undone", migration, lambda: unapply(state, migration, fake))

    def _attempts(self, participle: str, migration: Migration, attempt: Callable[[], ProjectState]) -> ProjectState:
        def once() -> ProjectState:
            try:
                return self._attempt_once(migration, attempt)
            except UserFacingError as error:
                raise UserFacingError(f"{error}{self._earlier_migrations(participle)}") from error

        try:
            state = repeat_while_locked(
                once,
                subject=str(migration),
                lock=self.run.lock,
                timeouts=self.run.timeouts,
                on_warning=self.run.on_warning,
                failure=lambda error, number: UserFacingError(self._failure_message(participle, migration, error, number)),
                may_repeat=bool(migration.atomic),
                on_failed_attempt=lambda: self.progress_callback and self.progress_callback(ATTEMPT_FAILED, migration),
            )
        except KeyboardInterrupt as error:
            self.run.on_warning(f"{migration} was not {participle}. {describe_leftovers(migration, error, self.run.lock.connection)}")
            raise
        self.run.done.append(str(migration))
        self.run.on_done(str(migration))
        return state

    def _attempt_once(self, migration: Migration, attempt: Callable[[], ProjectState]) -> ProjectState:
        self.run.lock.check()
        # While a statement waits for a table, every later query on that table waits behind it. So the wait is short.
        with ExitStack() as stack:
            settings = {"lock_timeout": self.run.timeouts.lock_timeout, "client_connection_check_interval": CLIENT_CHECK_INTERVAL}
            stack.enter_context(session_settings(self.connection, **settings))
            if not migration.atomic:
                stack.enter_context(self.connection.execute_wrapper(no_lock_timeout_for_concurrently))
                stack.enter_context(long_waits_reported(self.connection, str(migration), self.run.on_warning))
                return attempt()
            stack.enter_context(one_transaction(self.connection))
            state = attempt()
            self.run.lock.check()
            return state

    def _failure_message(self, participle: str, migration: Migration, error: Error, number: int) -> str:
        other = self.run.lock.connection
        busy, then = "", f"Fix this, then run {self.run.command} again."
        where = f" ({place})" if (place := sql_location(error)) else ""
        if is_lock_unavailable(error):
            busy = f", {number} times{oldest_transaction(other)}"
            then = f"Run {self.run.command} again later, or wait longer with --table-lock-seconds or --attempts."
        elif setting := refusal_reason(error):
            then = f"{setting[0].upper()}{setting[1:]} Then run {self.run.command} again."
        leftovers = describe_leftovers(migration, error, other)
        earlier = self._earlier_migrations(participle)
        return f"{migration} was not {participle}: {without_detail(error)}{where}{busy}. {leftovers}{earlier} {then}"

    def _earlier_migrations(self, participle: str) -> str:
        count = len(self.run.done)
        return f" {counted(count, 'earlier migration')} stayed {participle}." if count else ""
