"""Diagnostics of a failed migration: the reason, exactly what it left, and the next command."""

from __future__ import annotations

from django.db import InterfaceError, OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations import Migration
from psycopg import errors

from findme.core.postgresql.connection_errors import is_unavailable
from findme.migrator.concurrently import invalid_indexes


def is_lock_unavailable(error: BaseException) -> bool:
    """Nothing is wrong with the migration: it may be tried again."""
    return isinstance(error.__cause__, errors.LockNotAvailable | errors.DeadlockDetected)


def is_connection_lost(error: BaseException) -> bool:
    return isinstance(error, InterfaceError) or is_unavailable(error)


def describe_leftovers(migration: Migration, error: BaseException, connection: BaseDatabaseWrapper) -> str:
    """One or two sentences. CONNECTION is another one than the one that failed."""
    if not migration.atomic:
        earlier = "What it did before that stays. " if len(migration.operations) > 1 else ""
        return f"It does not run in one transaction. {earlier}{_invalid_indexes(connection)}"
    if is_connection_lost(error):
        return "It is done whole or not at all: schema_version says which."
    return "Nothing of it is left."


def _invalid_indexes(connection: BaseDatabaseWrapper) -> str:
    try:
        names = invalid_indexes(connection)
    except (InterfaceError, OperationalError):
        return "Whether it left an INVALID index could not be asked."
    if not names:
        return "No INVALID index is left."
    statements = " ".join(f"DROP INDEX CONCURRENTLY {name};" for name in names)
    return f"INVALID is left: {', '.join(names)}. Type in dbshell: {statements}"


def oldest_transaction(connection: BaseDatabaseWrapper) -> str:
    """Who most likely holds what a migration waits for, or nothing where nobody is seen: roles see other roles' transactions as superusers only."""
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                """
                SELECT pid, application_name, round(extract(epoch FROM clock_timestamp() - xact_start))
                FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend' AND xact_start IS NOT NULL
                ORDER BY xact_start LIMIT 1
                """
            )
            row = cursor.fetchone()
    except (InterfaceError, OperationalError):
        return ""
    return f" (the oldest open transaction: process {row[0]}, {row[1]!r}, for {row[2]} s)" if row else ""
