"""The lock that ``migrate``, ``rollback`` and backups take: one of them at a time in a database.

It is polled. A session that waits inside ``pg_advisory_lock`` holds a snapshot while it waits, and CREATE INDEX CONCURRENTLY, run by whoever has
the lock, waits for every snapshot to end: a deadlock, and an INVALID index. ``pg_try_advisory_lock`` is over at once and holds nothing.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, InterfaceError, OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from findme.core.errors import UserFacingError

LOCK_KEY = int.from_bytes(b"findme", "big")
"""Advisory locks belong to one database: the same key does not meet itself in another."""

POLL_SECONDS = 0.2

logger = logging.getLogger(__name__)

NO_SHARED_SESSIONS = "If a pooler shares sessions between clients, name PostgreSQL itself in DATABASE_URL, or set pool_mode = session."
_HOLDERS = """
    SELECT pid, application_name FROM pg_locks LEFT JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND (classid::bigint << 32 | objid::bigint) = %s
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


@dataclass(frozen=True, slots=True)
class MigrationLock:
    """The lock, held by a connection of its own: what happens to the connection that migrates does not touch it."""

    connection: BaseDatabaseWrapper

    def check(self) -> None:
        """Raises UserFacingError if the lock is no longer held, since its connection was lost: somebody else may have it."""
        reason, next_step = "its session is another one", f"{NO_SHARED_SESSIONS} Then run it again."
        try:
            if self._is_held():
                return
        except (InterfaceError, OperationalError) as error:
            reason, next_step = " ".join(str(error).split()), "Run it again."
        raise UserFacingError(f"The connection that held the lock on migrations was lost ({reason}): nothing more was begun. {next_step}")

    def _is_held(self) -> bool:
        with self.connection.cursor() as cursor:
            cursor.execute(_HOLDERS + "AND pid = pg_backend_pid()", [LOCK_KEY])
            return cursor.fetchone() is not None


@contextmanager
def migration_lock(
    purpose: str,
    *,
    using: str = DEFAULT_DB_ALIAS,
    seconds: float | None = None,
    say: Callable[[str], None] = logger.warning,
) -> Iterator[MigrationLock]:
    """Hold the lock for PURPOSE ("migrate"), which others who wait are told. It is not reentrant.

    Waits up to SECONDS (``settings.MIGRATE_LOCK_SECONDS``), says once that it waits and for whom, and raises UserFacingError at the
    deadline. Whoever dies loses the lock with the connection. Behind a pooler that shares sessions it does not hold: connect to PostgreSQL
    itself.
    """
    connection = connections[using].copy()
    try:
        _introduce(connection, purpose)
        _wait(connection, settings.MIGRATE_LOCK_SECONDS if seconds is None else seconds, say)
        try:
            yield MigrationLock(connection)
        finally:
            _release(connection)
    finally:
        connection.close()


def _introduce(connection: BaseDatabaseWrapper, purpose: str) -> None:
    """A name that others read in pg_stat_activity, no end to the session for having nothing to do, and no limit for its statements."""
    name = f"findme {purpose} {socket.gethostname()}:{os.getpid()}"
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('application_name', %s, false), set_config('idle_session_timeout', '0', false), set_config('statement_timeout', '0', false)",
            [name[:63]],
        )


def _wait(connection: BaseDatabaseWrapper, seconds: float, say: Callable[[str], None]) -> None:
    deadline = time.monotonic() + seconds
    waiting = False
    while not _try(connection):
        holder = _holder(connection)
        if time.monotonic() >= deadline:
            raise UserFacingError(
                f"The lock on migrations was not free within {seconds:g} s: {holder}. Run it again when that has ended,"
                " or wait longer with --lock-seconds."
            )
        if not waiting:
            say(f"Waiting up to {seconds:g} s for the lock on migrations: {holder}.")
            waiting = True
        time.sleep(min(POLL_SECONDS, max(0.0, deadline - time.monotonic())))


def _try(connection: BaseDatabaseWrapper) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK_KEY])
        return bool(cursor.fetchone()[0])


def _release(connection: BaseDatabaseWrapper) -> None:
    """At once; the end of the session would do it a moment later. A session that is gone holds nothing."""
    with suppress(InterfaceError, OperationalError), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK_KEY])


def _holder(connection: BaseDatabaseWrapper) -> str:
    with connection.cursor() as cursor:
        cursor.execute(_HOLDERS, [LOCK_KEY])
        held = cursor.fetchone()
    return f"process {held[0]} ({held[1]!r}) holds it" if held else "it was held until just now"
