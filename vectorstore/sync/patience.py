"""Short transactions of workers, which wait for nobody for long, and whom nobody waits for for long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

LOCK_SECONDS, IDLE_SECONDS = 2, 5

BY_INDEX = "set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true), set_config('jit', 'off', true)"
"""The queue is long at one moment and empty at the next: what the planner remembers of its length is wrong, and the indexes are always right."""


@contextmanager
def short_transaction(*, durable: bool = False) -> Iterator[CursorWrapper]:
    """A transaction whose commit is on disk when it returns. A worker that is frozen in the middle of it is thrown out, and frees what it holds:
    its next statement raises InternalError."""
    outermost = not connection.in_atomic_block
    with transaction.atomic(durable=durable), connection.cursor() as cursor:
        cursor.execute(
            f"SELECT set_config('lock_timeout', %s, true), set_config('synchronous_commit', 'on', true), {BY_INDEX}", [f"{LOCK_SECONDS}s"]
        )
        if outermost:
            cursor.execute("SELECT set_config('idle_in_transaction_session_timeout', %s, true)", [f"{IDLE_SECONDS}s"])
        yield cursor
