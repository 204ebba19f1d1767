"""Repair the triggers by the SQL of the migrations: recreate missing or different ones, enable disabled ones."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

from django.db import DEFAULT_DB_ALIAS, Error, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from psycopg import errors

from findme.core.db.session import session_settings
from findme.core.errors import UserFacingError, without_detail
from findme.core.triggers.definitions import Trigger, TriggerFunction
from findme.core.triggers.problems import ForeignKeys, TriggerProblem, trigger_problems
from findme.migrator.diagnostics import is_lock_unavailable, oldest_transaction
from findme.migrator.lock import MigrationLock, migration_lock
from findme.migrator.timeouts import MigrationTimeouts

logger = logging.getLogger(__name__)

_WAIT_LESS_THAN_A_DEADLOCK = """
    SELECT set_config('lock_timeout', greatest(1, least(nullif(own.setting::int, 0), deadlock.reset_val::int / 2))::text, true)
    FROM pg_settings own, pg_settings deadlock WHERE own.name = 'lock_timeout' AND deadlock.name = 'deadlock_timeout'
"""


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
        for number in range(1, timeouts.attempts + 1):
            try:
                return _repair(connections[using], lock, timeouts, before_commit)
            except Error as error:
                if number == timeouts.attempts or not is_lock_unavailable(error):
                    _raise_failure(command, error, lock)
                seconds = timeouts.pause_after(number)
                on_warning(f"{without_detail(error)}{oldest_transaction(lock.connection)}; attempt {number + 1} in {seconds:.1f} s.")
                time.sleep(seconds)
    raise AssertionError("the last attempt returns or raises")


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
    timeout = f"{round(timeouts.table_lock_seconds * 1000)}ms"
    # Create functions in the schema of the tables, whatever else search_path has. PostgreSQL searches pg_catalog first if it is not named.
    with (
        session_settings(connection, lock_timeout=timeout, search_path=f"{schema}, pg_temp"),
        transaction.atomic(using=connection.alias),
        connection.cursor() as cursor,
    ):
        lock.check()
        found = _repairable_problems(connection)
        _lock_tables(cursor, found)
        for statement in _statements(found):
            cursor.execute(statement)
        if found:
            before_commit()
        lock.check()
    return tuple(found)


def _lock_tables(cursor: CursorWrapper, problems: Sequence[TriggerProblem]) -> None:
    """Lock the tables as CREATE TRIGGER or DROP TRIGGER does. Afterwards every transaction that a trigger did not capture has ended.

    DROP TRIGGER also waits for readers. A stronger lock that is taken later could cause a deadlock with a reader that begins to write.
    While one table is locked, a writer may wait for it and hold another one. So the wait for the others ends before PostgreSQL checks for a
    deadlock, and no writer fails because of it.
    """
    dropping = {table for problem in problems if problem.must_drop for table in problem.tables}
    for position, table in enumerate(sorted({table for problem in problems for table in problem.tables})):
        cursor.execute(f"LOCK TABLE {table} IN {'ACCESS EXCLUSIVE' if table in dropping else 'SHARE ROW EXCLUSIVE'} MODE")
        if position == 0:
            cursor.execute(_WAIT_LESS_THAN_A_DEADLOCK)


def _schema(connection: BaseDatabaseWrapper) -> str:
    """Return the schema of the tables, quoted."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT quote_ident(nspname) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE c.oid = 'users'::regclass"
        )
        return str(cursor.fetchone()[0])


def _statements(problems: Sequence[TriggerProblem]) -> Iterator[str]:
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


def _raise_failure(command: str, error: Error, lock: MigrationLock) -> NoReturn:
    then = f"Run manage.py {command} again"
    if isinstance(error.__cause__, errors.InsufficientPrivilege):
        then += " with the role that owns the tables in DATABASE_URL."
    elif is_lock_unavailable(error):
        then += f" later{oldest_transaction(lock.connection)}."
    else:
        then = f"Fix this, then run manage.py {command} again."
    raise UserFacingError(f"The triggers were not repaired: {without_detail(error)}; nothing was changed. {then}") from error
