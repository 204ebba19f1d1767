"""Temporary settings of a PostgreSQL session, and a transaction around the schema editor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from django.db import InterfaceError, InternalError, OperationalError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

TIME_LIMITS = ("idle_in_transaction_session_timeout", "idle_session_timeout", "transaction_timeout")


@contextmanager
def session_settings(connection: BaseDatabaseWrapper, **values: str) -> Iterator[None]:
    """Set ``values`` for this session in the block, then restore the old values.

    A lost session is ignored. So is a failed transaction: its rollback restores the values.
    """
    before = {name: _exchange(connection, name, value) for name, value in values.items()}
    try:
        yield
    finally:
        with suppress(InterfaceError, OperationalError, InternalError):
            for name, value in before.items():
                _exchange(connection, name, value)


@contextmanager
def without_time_limits(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Remove the time limits of the session in the block, because a migration can take long.

    A role, a database or the server may have set them for short queries.
    """
    with session_settings(connection, statement_timeout="0"):
        with connection.cursor() as cursor:
            # Not every release of PostgreSQL has all of them.
            cursor.execute("SELECT name FROM pg_settings WHERE name = ANY(%s) AND setting <> '0'", [list(TIME_LIMITS)])
            limits = {name: "0" for (name,) in cursor.fetchall()}
        with session_settings(connection, **limits):
            yield


@contextmanager
def one_transaction(connection: BaseDatabaseWrapper, *, durable: bool = False) -> Iterator[None]:
    """Run the block in ``transaction.atomic``, for Django's schema editor.

    The editor runs deferred SQL in its ``__exit__``. If that SQL fails, the editor does not exit its own atomic block. Django would then take the
    outer block for the inner one, roll back to a savepoint and leave the transaction open. So this removes the inner blocks from the connection.
    """
    with transaction.atomic(using=connection.alias, durable=durable):
        savepoints, blocks = len(connection.savepoint_ids), len(connection.atomic_blocks)
        try:
            yield
        except BaseException:
            del connection.savepoint_ids[savepoints:], connection.atomic_blocks[blocks:]
            raise


def _exchange(connection: BaseDatabaseWrapper, name: str, value: str) -> str:
    with connection.cursor() as cursor:
        # Two statements, because PostgreSQL does not define which function of one statement runs first.
        cursor.execute("SELECT current_setting(%s)", [name])
        before = str(cursor.fetchone()[0])
        cursor.execute("SELECT set_config(%s, %s, false)", [name, value])
    return before
