"""Other users of the same database: separate connections, and threads that close theirs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper


@contextmanager
def another_connection() -> Iterator[BaseDatabaseWrapper]:
    """Open a connection in autocommit mode. Send ``BEGIN`` to start a transaction."""
    other = connection.copy()
    try:
        yield other
    finally:
        other.close()


def sessions_waiting_for_a_lock() -> int:
    """Return how many sessions at this database wait for another.

    Asks over a connection of its own: within a transaction PostgreSQL shows the sessions that were there at the first look.
    """
    with another_connection() as other, other.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0"
        )
        found: int = cursor.fetchone()[0]
    return found


def is_waiting_for_lock() -> bool:
    return sessions_waiting_for_a_lock() > 0
