"""Advisory locks of a PostgreSQL session. A process that dies loses its lock with the connection.

The lock is polled with ``pg_try_advisory_lock``, which returns at once. A session that waits inside ``pg_advisory_lock`` holds a snapshot.
CREATE INDEX CONCURRENTLY in the session with the lock waits for every snapshot to end. That is a deadlock, and it leaves an INVALID index.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from django.db import DEFAULT_DB_ALIAS, InterfaceError, OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from findme.core.errors import UserFacingError
from findme.core.waiting import wait_until

HOLDERS = """
    SELECT pid, application_name FROM pg_locks LEFT JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND (classid::bigint << 32 | objid::bigint) = %s
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


@dataclass(frozen=True, slots=True)
class AdvisoryLock:
    """The advisory lock ``key`` for the session of ``connection``.

    The same key in another database is another lock.
    """

    connection: BaseDatabaseWrapper
    key: int

    @contextmanager
    def held(self, seconds: float, busy: Callable[[], UserFacingError], on_wait: Callable[[], object] = lambda: None) -> Iterator[None]:
        """Hold the lock.

        If another session holds it, call ``on_wait`` once and wait up to ``seconds``. Then raise the error that ``busy`` returns.
        """
        if not self.try_acquire():
            on_wait()
            if not wait_until(self.try_acquire, seconds):
                raise busy()
        try:
            yield
        finally:
            self.release()

    def try_acquire(self) -> bool:
        """Take the lock if it is free. Return whether this session took it."""
        return bool(self._ask("SELECT pg_try_advisory_lock(%s)")[0])

    def release(self) -> None:
        """Release the lock now, not only at the end of the session. Do nothing if the connection is lost."""
        with suppress(InterfaceError, OperationalError):
            self._ask("SELECT pg_advisory_unlock(%s)")

    def is_held(self) -> bool:
        """Return whether this session has the lock. Raises Django's error for a lost connection."""
        return self._ask(HOLDERS + "AND pid = pg_backend_pid()") is not None

    def holder(self) -> tuple[int, str] | None:
        """Return the process id and the application name of the session that has the lock."""
        row: tuple[int, str] | None = self._ask(HOLDERS)
        return row

    def _ask(self, query: str) -> Any:
        with self.connection.cursor() as cursor:
            cursor.execute(query, [self.key])
            return cursor.fetchone()


@contextmanager
def lock_session(purpose: str, using: str = DEFAULT_DB_ALIAS) -> Iterator[BaseDatabaseWrapper]:
    """Yield a connection of its own for a lock: an error on another connection does not release it.

    pg_stat_activity shows the ``purpose``. The session has no idle timeout and no statement timeout.
    """
    name = f"findme {purpose} {socket.gethostname()}:{os.getpid()}"
    with closing(connections[using].copy()) as connection:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT set_config('application_name', %s, false), set_config('idle_session_timeout', '0', false), set_config('statement_timeout', '0', false)",
                [name[:63]],
            )
        yield connection


def describe_holder(lock: AdvisoryLock) -> str:
    """Return which session holds the lock, for an error message."""
    held = lock.holder()
    return f"process {held[0]} ({held[1]!r}) holds it" if held else "it was held until just now"
