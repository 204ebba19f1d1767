"""Settings of a PostgreSQL session for a while, and a transaction that ends with its block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from django.db import InterfaceError, OperationalError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

TIME_LIMITS = ("idle_in_transaction_session_timeout", "idle_session_timeout", "transaction_timeout")


@contextmanager
def session_settings(connection: BaseDatabaseWrapper, **values: str) -> Iterator[None]:
    """Set VALUES for this session, and put back what was there before; a session that is gone has nothing to put back."""
    before = {name: _exchange(connection, name, value) for name, value in values.items()}
    try:
        yield
    finally:
        with suppress(InterfaceError, OperationalError):
            for name, value in before.items():
                _exchange(connection, name, value)


@contextmanager
def without_time_limits(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Lift the limits that a role, a database or the server set for a session of short queries: a migration takes the time that it needs."""
    with session_settings(connection, statement_timeout="0"):
        with connection.cursor() as cursor:
            # Not every release has each of them.
            cursor.execute("SELECT name FROM pg_settings WHERE name = ANY(%s) AND setting <> '0'", [list(TIME_LIMITS)])
            limits = {name: "0" for (name,) in cursor.fetchall()}
        with session_settings(connection, **limits):
            yield


@contextmanager
def one_transaction(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """``transaction.atomic`` around Django's schema editor.

    When SQL that the editor has put off to its end fails, it does not leave the block that it has entered, and the block around it, taken for the
    inner one, would roll back to a savepoint and leave the transaction open: so what was entered inside is forgotten here.
    """
    with transaction.atomic(using=connection.alias):
        savepoints, blocks = len(connection.savepoint_ids), len(connection.atomic_blocks)
        try:
            yield
        except BaseException:
            del connection.savepoint_ids[savepoints:], connection.atomic_blocks[blocks:]
            raise


def _exchange(connection: BaseDatabaseWrapper, name: str, value: str) -> str:
    with connection.cursor() as cursor:
        # In two statements: in one, it is not said which of the functions is called first.
        cursor.execute("SELECT current_setting(%s)", [name])
        before = str(cursor.fetchone()[0])
        cursor.execute("SELECT set_config(%s, %s, false)", [name, value])
    return before
