"""Repair the triggers by the SQL of the migrations: recreate missing or different ones, enable disabled ones."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from django.db import DEFAULT_DB_ALIAS, Error, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import errors

from findme.core.db.session import session_settings
from findme.core.errors import UserFacingError, without_detail
from findme.core.triggers.definitions import Trigger, TriggerFunction
from findme.core.triggers.problems import ForeignKeys, TriggerProblem, trigger_problems
from findme.migrator.attempts import repeat_while_locked
from findme.migrator.diagnostics import is_lock_unavailable, oldest_transaction
from findme.migrator.lock import MigrationLock, migration_lock
from findme.migrator.table_locks import BLOCK_ALL, BLOCK_WRITES, lock_tables
from findme.migrator.timeouts import MigrationTimeouts

logger = logging.getLogger(__name__)


def repair_triggers(
    command: str,
    *,
    using: str = DEFAULT_DB_ALIAS,
    timeouts: MigrationTimeouts | None = None,
    on_warning: Callable[[str], None] = logger.warning,
    before_commit: Callable[[], object] = lambda: None,
) -> tuple[TriggerProblem, ...]:
    """Repair what ``trigger_problems`` finds, in one short transaction, and return the repaired problems.

    Holds the migration lock, so no migration changes the same triggers. Writers wait while the tables are locked. ``command`` is named in
    errors, and to processes that wait for the lock. Changes made before the repair are not queued: compare both stores afterwards.
    ``before_commit`` is called at the end of that transaction, so its writes are committed if and only if something is repaired.
    Raises UserFacingError.
    """
    timeouts = timeouts or MigrationTimeouts.configured()
    if not _repairable_problems(connections[using]):
        return ()
    with migration_lock(command, using=using, seconds=timeouts.wait_seconds, on_warning=on_warning) as lock:
        return repeat_while_locked(
            partial(_repair, connections[using], lock, timeouts, before_commit),
            subject="The triggers",
            lock=lock,
            timeouts=timeouts,
            on_warning=on_warning,
            failure=lambda error, _: _failure(command, error, lock),
        )


def _repairable_problems(connection: BaseDatabaseWrapper) -> list[TriggerProblem]:
    """Return the problems that this role can repair: only a superuser can enable PostgreSQL's own triggers."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('is_superuser') = 'on'")
        (is_superuser,) = cursor.fetchone()
    problems = trigger_problems(connection.alias)
    return [problem for problem in problems if is_superuser or not isinstance(problem.about, ForeignKeys)]


def _repair(
    connection: BaseDatabaseWrapper, lock: MigrationLock, timeouts: MigrationTimeouts, before_commit: Callable[[], object]
) -> tuple[TriggerProblem, ...]:
    schema = _schema(connection)
    # Create functions in the schema of the tables, whatever else search_path has. PostgreSQL searches pg_catalog first if it is not named.
    with (
        session_settings(connection, lock_timeout=timeouts.lock_timeout, search_path=f"{schema}, pg_temp"),
        transaction.atomic(using=connection.alias),
        connection.cursor() as cursor,
    ):
        lock.check()
        found = _repairable_problems(connection)
        lock_tables(cursor, _locks(found))
        for statement in repair_statements(found):
            cursor.execute(statement)
        if found:
            before_commit()
        lock.check()
    return tuple(found)


def _locks(problems: Sequence[TriggerProblem]) -> list[tuple[str, str]]:
    """Return the locks of CREATE TRIGGER and DROP TRIGGER. With them, every transaction that a trigger did not capture has ended.

    DROP TRIGGER also waits for readers. A stronger lock that is taken later could cause a deadlock with a reader that begins to write.
    """
    dropping = {table for problem in problems if problem.must_drop for table in problem.tables}
    return [
        (table, BLOCK_ALL if table in dropping else BLOCK_WRITES)
        for table in sorted({table for problem in problems for table in problem.tables})
    ]


def _schema(connection: BaseDatabaseWrapper) -> str:
    """Return the schema of the tables, quoted."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT quote_ident(nspname) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE c.oid = 'users'::regclass"
        )
        return str(cursor.fetchone()[0])


def repair_statements(problems: Sequence[TriggerProblem]) -> Iterator[str]:
    """Yield the functions first, since a trigger names one. ENABLE TRIGGER ALL resets ALWAYS triggers, so those come last."""
    for problem in problems:
        if isinstance(problem.about, TriggerFunction):
            yield problem.about.statement
            if not problem.about.public:
                yield f"REVOKE ALL ON FUNCTION {problem.about.name}() FROM PUBLIC"
    for problem in problems:
        if isinstance(problem.about, Trigger):
            yield from _recreate(problem, problem.about)
    for problem in problems:
        if isinstance(problem.about, ForeignKeys):
            yield f"ALTER TABLE {problem.about.table} ENABLE TRIGGER ALL"
            yield from map(_enable, problem.about.triggers)
        elif isinstance(problem.about, Trigger):
            yield _enable(problem.about)


def _recreate(problem: TriggerProblem, trigger: Trigger) -> Iterator[str]:
    """Yield nothing for a constraint trigger that must only be enabled: PostgreSQL could not create it again."""
    if problem.must_drop:
        yield f"DROP TRIGGER {trigger.name} ON {trigger.table}"
    if not (trigger.is_constraint and problem.only_disabled):
        yield trigger.statement


def _enable(trigger: Trigger) -> str:
    return f"ALTER TABLE {trigger.table} ENABLE {'ALWAYS ' if trigger.always else ''}TRIGGER {trigger.name}"


def _failure(command: str, error: Error, lock: MigrationLock) -> UserFacingError:
    then = f"Run manage.py {command} again"
    if isinstance(error.__cause__, errors.InsufficientPrivilege):
        then += " with the role that owns the tables in DATABASE_URL."
    elif is_lock_unavailable(error):
        then += f" later{oldest_transaction(lock.connection)}."
    else:
        then = f"Fix this, then run manage.py {command} again."
    return UserFacingError(f"The triggers were not repaired: {without_detail(error)}; nothing was changed. {then}")
