"""Explain a failed migration: the reason, exactly what it left, and the next command."""

from __future__ import annotations

from django.db import InterfaceError, OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations import Migration
from psycopg import errors

from findme.core.postgresql.connection_errors import is_unavailable
from findme.migrator.concurrently import invalid_indexes


def is_lock_unavailable(error: BaseException) -> bool:
    """Return whether the migration failed only because a lock was not free, so it can be tried again."""
    return isinstance(error.__cause__, errors.LockNotAvailable | errors.DeadlockDetected)


def is_connection_lost(error: BaseException) -> bool:
    return isinstance(error, InterfaceError) or is_unavailable(error)


def describe_leftovers(migration: Migration, error: BaseException, connection: BaseDatabaseWrapper) -> str:
    """Return one or two sentences about what the failed migration left. ``connection`` must not be the one that failed."""
    if not migration.atomic:
        earlier = "Its earlier operations stay applied. " if len(migration.operations) > 1 else ""
        return f"It does not run in one transaction. {earlier}{_invalid_indexes(connection)}"
    if is_connection_lost(error):
        return "It was applied completely or not at all: schema_version shows which."
    return "It left nothing."


def _invalid_indexes(connection: BaseDatabaseWrapper) -> str:
    try:
        names = invalid_indexes(connection)
    except (InterfaceError, OperationalError):
        return "It could not be checked whether it left an INVALID index."
    if not names:
        return "It left no INVALID index."
    statements = " ".join(f"DROP INDEX CONCURRENTLY {name};" for name in names)
    return f"It left INVALID: {', '.join(names)}. Run in manage.py dbshell: {statements}"


def oldest_transaction(connection: BaseDatabaseWrapper) -> str:
    """Return a text about the oldest open transaction, which most likely holds the lock that a migration waits for.

    Return an empty text if this role sees no transaction: only a superuser sees those of other roles.
    """
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
