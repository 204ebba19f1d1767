"""Short transactions of workers, which wait for nobody for long, and whom nobody waits for for long."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from django.db import DatabaseError, InterfaceError, connection, transaction
from django.db.backends.utils import CursorWrapper

from vectorstore.queue.shutdown import statement_deadline

LOCK_SECONDS, IDLE_SECONDS = 2, 5

SETTINGS = """
    SET LOCAL synchronous_commit = on; SET LOCAL lock_timeout = '{lock}s';
    SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL jit = off
"""
"""The queue is long at one moment and empty at the next: what the planner remembers of its length is wrong, and the indexes are always right."""

GIVEN_BACK = ("lock_timeout", "enable_seqscan", "enable_bitmapscan", "jit")
CALLERS = f"SELECT {', '.join(f'current_setting({name!r})' for name in GIVEN_BACK)}"
GIVE_BACK = f"SELECT {', '.join(f'set_config({name!r}, %s, true)' for name in GIVEN_BACK)}"
"""To a transaction of the caller's, which keeps its own timeouts. Its commit is on disk all the same."""

OUTERMOST = "SET LOCAL idle_in_transaction_session_timeout = '{idle}s';"


@contextmanager
def short_transaction(*, durable: bool = False, extra_seconds: float = 0) -> Iterator[CursorWrapper]:
    """A transaction whose commit is on disk when it returns. A worker that is frozen in the middle of it is thrown out, and frees what it holds:
    its next statement raises InternalError. EXTRA_SECONDS is how long something else may take in the middle of it, as a request to Qdrant."""
    nested = connection.in_atomic_block
    settings = ("" if nested else OUTERMOST) + SETTINGS
    in_time = nullcontext() if extra_seconds else statement_deadline()
    with in_time, transaction.atomic(durable=durable), connection.cursor() as cursor:
        before = _callers(cursor) if nested else ()
        cursor.execute(settings.format(lock=LOCK_SECONDS, idle=IDLE_SECONDS + math.ceil(extra_seconds)))
        yield cursor
        if before and not connection.needs_rollback:
            cursor.execute(GIVE_BACK, before)


def _callers(cursor: CursorWrapper) -> tuple[str, ...]:
    cursor.execute(CALLERS)
    found: tuple[str, ...] = cursor.fetchone()
    return found


def retry_on_new_connection(end: Callable[[], object]) -> None:
    """For the end of something, in a transaction of its own: once more where the connection is of no use any more. Who does not succeed leaves what
    there is to leases that run out."""
    for _ in range(2):
        try:
            end()
        except (DatabaseError, InterfaceError):
            if connection.in_atomic_block:
                return
            connection.close()
        else:
            return
