"""Do the steps of a conversion, each with a deadline for its locks and with retries."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from django.db import Error, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import errors

from findme.core.db.session import session_settings
from findme.core.errors import UserFacingError, without_detail
from findme.core.postgresql.diagnosis import refusal_reason
from findme.migrator.attempts import repeat_while_locked
from findme.migrator.baseline.step import Step, quote, rule_name
from findme.migrator.concurrently import is_valid
from findme.migrator.diagnostics import is_lock_unavailable, oldest_transaction
from findme.migrator.executor import Run
from findme.migrator.long_waits import long_waits_reported
from findme.migrator.table_locks import lock_tables


def run_step(run: Run, connection: BaseDatabaseWrapper, step: Step) -> None:
    """Do the step, again while a lock is not free. Raises UserFacingError; the earlier steps stay done.

    An index whose build fails is dropped. The connection's ``search_path`` begins with the schema of the tables.
    """
    try:
        repeat_while_locked(
            partial(_attempt, run, connection, step),
            subject=step.description,
            lock=run.lock,
            timeouts=run.timeouts,
            on_warning=run.on_warning,
            failure=lambda error, number: _failure(run, step, error, number),
            on_failed_attempt=lambda: _drop_invalid_index(run, connection, step),
        )
    except KeyboardInterrupt:
        if step.index is not None and _is_left_invalid(run.lock.connection, step.index):
            run.on_warning(f"The index {step.index} is left INVALID. The next run of manage.py {run.command} drops it and builds it again.")
        raise


def _attempt(run: Run, connection: BaseDatabaseWrapper, step: Step) -> None:
    run.lock.check()
    if not step.locks:
        # The statement waits for older transactions, and no writer waits behind it.
        with (
            session_settings(connection, lock_timeout="0"),
            long_waits_reported(connection, step.description, run.on_warning),
            connection.cursor() as cursor,
        ):
            (statement,) = step.statements
            cursor.execute(statement)
        return
    with (
        session_settings(connection, lock_timeout=run.timeouts.lock_timeout),
        transaction.atomic(using=connection.alias, durable=True),
        connection.cursor() as cursor,
    ):
        lock_tables(cursor, ((quote(table), mode) for table, mode in step.locks))
        for statement in step.statements:
            cursor.execute(statement)
        run.lock.check()


def _is_left_invalid(connection: BaseDatabaseWrapper, index: str) -> bool:
    try:
        return is_valid(connection, quote(index)) is False
    except Error:
        return True  # it may be


def _drop_invalid_index(run: Run, connection: BaseDatabaseWrapper, step: Step) -> None:
    """Drop what a failed CREATE INDEX CONCURRENTLY has left. If that fails too, the next run drops it."""
    if step.index is not None:
        dropping = f"{step.description}: drop the INVALID index"
        with (
            suppress(Error),
            session_settings(connection, lock_timeout="0"),
            long_waits_reported(connection, dropping, run.on_warning),
            connection.cursor() as cursor,
        ):
            if is_valid(connection, quote(step.index)) is False:
                cursor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {quote(step.index)}")


def _failure(run: Run, step: Step, error: Error, number: int) -> UserFacingError:
    again = f"manage.py {run.command}"
    table = step.description.partition(":")[0]
    if rule := broken_rule(error, table):
        return UserFacingError(f"{rule}: rows of {table} break this rule; the earlier steps stay. See {again} --plan.")
    busy, then = "", f"Fix this, then run {again} again."
    if is_lock_unavailable(error):
        busy = f", {number} times{oldest_transaction(run.lock.connection)}"
        then = f"Run {again} again later, or wait longer with --table-lock-seconds or --attempts."
    elif isinstance(error.__cause__, errors.InsufficientPrivilege):
        then = f"Run {again} with the role that owns the tables in DATABASE_URL."
    elif setting := refusal_reason(error):
        then = f"{setting[0].upper()}{setting[1:]} Then run {again} again."
    return UserFacingError(f"{step.description}: {without_detail(error)}{busy}; the earlier steps stay. {then}")


def broken_rule(error: Error, table: str) -> str | None:
    """Return the constraint or unique index that rows break. A writer can have inserted them after the rows were counted."""
    cause = error.__cause__
    if isinstance(cause, errors.CheckViolation | errors.ForeignKeyViolation | errors.UniqueViolation):
        return rule_name(cause.diag.constraint_name or "", table)
    return None
