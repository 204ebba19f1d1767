"""Other sessions at the test's database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from uuid import UUID

import psycopg
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper

from tests.support.database import database_parameters, url_of
from vectorstore.queue.entries import LOCK_OF


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

    It asks over its own connection: within a transaction PostgreSQL shows the sessions of the first query.
    """
    with another_connection() as other, other.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0"
        )
        found: int = cursor.fetchone()[0]
    return found


def is_waiting_for_lock() -> bool:
    return sessions_waiting_for_a_lock() > 0


class Watched:
    def __init__(self, asking: psycopg.Connection, pid: int) -> None:
        self.asking, self.pid = asking, pid

    def last_used(self) -> datetime:
        """Return when the session last began or ended a statement."""
        found = self.asking.execute("SELECT state_change FROM pg_stat_activity WHERE pid = %s", [self.pid]).fetchone()
        assert found is not None, "it has ended"
        changed: datetime = found[0]
        return changed


@contextmanager
def watched_session() -> Iterator[Watched]:
    """Watch the session of the test's own connection."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    with psycopg.connect(url_of(database_parameters()), autocommit=True) as asking:
        yield Watched(asking, pid)


def is_user_locked(user_id: UUID) -> bool:
    """Return whether a transaction holds the user's lock, so that no worker can claim the user."""
    with another_connection() as other, other.cursor() as cursor:
        cursor.execute(f"SELECT pg_try_advisory_xact_lock({LOCK_OF}) FROM (SELECT %s::uuid AS person) asked", [user_id])
        return not cursor.fetchone()[0]
