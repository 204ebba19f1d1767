"""What PostgreSQL says of the session that a test holds, asked on another connection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import psycopg
from django.db import connection

from tests.support.commands import environment


class Watched:
    def __init__(self, asking: psycopg.Connection, pid: int) -> None:
        self.asking, self.pid = asking, pid

    def last_used(self) -> datetime:
        """When it last began or ended a statement."""
        found = self.asking.execute("SELECT state_change FROM pg_stat_activity WHERE pid = %s", [self.pid]).fetchone()
        assert found is not None, "it has ended"
        changed: datetime = found[0]
        return changed


@contextmanager
def watched_session() -> Iterator[Watched]:
    """That of the test's own connection."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    with psycopg.connect(environment()["DATABASE_URL"], autocommit=True) as asking:
        yield Watched(asking, pid)
