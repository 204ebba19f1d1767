"""The lock that ``migrate``, ``rollback`` and backups take: one of them at a time in a database."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, InterfaceError, OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from findme.core.db.advisory_lock import AdvisoryLock
from findme.core.errors import UserFacingError

LOCK_KEY = int.from_bytes(b"findme", "big")

logger = logging.getLogger(__name__)

NO_SHARED_SESSIONS = "If a pooler shares sessions between clients, name PostgreSQL itself in DATABASE_URL, or set pool_mode = session."


class MigrationLock(AdvisoryLock):
    """The lock, held by a connection of its own: what happens to the connection that migrates does not touch it."""

    def check(self) -> None:
        """Raises UserFacingError if the lock is no longer held, since its connection was lost: another process may have it."""
        reason, next_step = "its session is another one", f"{NO_SHARED_SESSIONS} Then run it again."
        try:
            if self.is_held():
                return
        except (InterfaceError, OperationalError) as error:
            reason, next_step = " ".join(str(error).split()), "Run it again."
        raise UserFacingError(f"The connection that held the lock on migrations was lost ({reason}): nothing more was begun. {next_step}")


@contextmanager
def migration_lock(
    purpose: str,
    *,
    using: str = DEFAULT_DB_ALIAS,
    seconds: float | None = None,
    on_warning: Callable[[str], None] = logger.warning,
) -> Iterator[MigrationLock]:
    """Hold the lock for PURPOSE ("migrate"), which others who wait are told. It is not reentrant.

    Waits up to SECONDS (``settings.MIGRATE_WAIT_SECONDS``), says once that it waits and for whom, and raises UserFacingError at the
    deadline. Whoever dies loses the lock with the connection. Behind a pooler that shares sessions it does not hold: connect to PostgreSQL
    itself.
    """
    limit = settings.MIGRATE_WAIT_SECONDS if seconds is None else seconds
    with closing(connections[using].copy()) as connection:
        _introduce(connection, purpose)
        lock = MigrationLock(connection, LOCK_KEY)

        def busy() -> UserFacingError:
            return UserFacingError(
                f"The lock on migrations was not free within {limit:g} s: {_holder(lock)}. Run it again when that has ended,"
                " or wait longer with --wait-seconds."
            )

        def on_wait() -> None:
            if limit:
                on_warning(f"Waiting up to {limit:g} s for the lock on migrations: {_holder(lock)}.")

        with lock.held(limit, busy, on_wait):
            yield lock


def _introduce(connection: BaseDatabaseWrapper, purpose: str) -> None:
    """A name that others read in pg_stat_activity, no end to the session for having nothing to do, and no limit for its statements."""
    name = f"findme {purpose} {socket.gethostname()}:{os.getpid()}"
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('application_name', %s, false), set_config('idle_session_timeout', '0', false), set_config('statement_timeout', '0', false)",
            [name[:63]],
        )


def _holder(lock: AdvisoryLock) -> str:
    held = lock.holder()
    return f"process {held[0]} ({held[1]!r}) holds it" if held else "it was held until just now"
