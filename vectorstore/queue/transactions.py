"""Short transactions of workers: they wait for locks, and hold locks, only for seconds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.db import DatabaseError, InterfaceError, connection, transaction
from django.db.backends.utils import CursorWrapper

LOCK_SECONDS, IDLE_SECONDS = 2, 5

SETTINGS = """
    SET LOCAL synchronous_commit = on; SET LOCAL lock_timeout = '{lock}s';
    SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL jit = off
"""
"""The queue can be long at one moment and empty at the next, so the planner's statistics are wrong. Index scans are always right."""

RESTORED_SETTINGS = ("lock_timeout", "enable_seqscan", "enable_bitmapscan", "jit")
READ_SETTINGS = f"SELECT {', '.join(f'current_setting({name!r})' for name in RESTORED_SETTINGS)}"
RESTORE_SETTINGS = f"SELECT {', '.join(f'set_config({name!r}, %s, true)' for name in RESTORED_SETTINGS)}"
"""A caller's transaction keeps its own settings. ``synchronous_commit`` stays on in it, so that its commit is on disk."""

IDLE_TIMEOUT = "SET LOCAL idle_in_transaction_session_timeout = '{idle}s';"
"""Only for an outermost transaction."""


@contextmanager
def short_transaction(*, durable: bool = False, extra_seconds: float = 0) -> Iterator[CursorWrapper]:
    """Run a transaction whose commit is on disk when it returns.

    PostgreSQL ends the session of a worker that freezes inside it, which frees the worker's locks. The worker's next statement then raises
    InternalError. ``extra_seconds`` is the time that other work inside the transaction may take, such as a request to Qdrant.
    """
    nested = connection.in_atomic_block
    settings = ("" if nested else IDLE_TIMEOUT) + SETTINGS
    with transaction.atomic(durable=durable), connection.cursor() as cursor:
        before = _current_settings(cursor) if nested else ()
        cursor.execute(settings.format(lock=LOCK_SECONDS, idle=IDLE_SECONDS + math.ceil(extra_seconds)))
        yield cursor
        if before and not connection.needs_rollback:
            cursor.execute(RESTORE_SETTINGS, before)


def _current_settings(cursor: CursorWrapper) -> tuple[str, ...]:
    cursor.execute(READ_SETTINGS)
    found: tuple[str, ...] = cursor.fetchone()
    return found


def retry_on_new_connection(release: Callable[[], object]) -> None:
    """Run ``release`` in its own transaction, and repeat it once if the connection is lost.

    If that fails too, the leases expire.
    """
    for _ in range(2):
        try:
            release()
        except (DatabaseError, InterfaceError):
            if connection.in_atomic_block:
                return
            connection.close()
        else:
            return
