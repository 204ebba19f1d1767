"""The lock that ``migrate``, ``rollback`` and backups take, so only one of them runs at a time in a database."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, InterfaceError, OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper

from findme.core.db.advisory_lock import AdvisoryLock, describe_holder, lock_session
from findme.core.errors import UserFacingError

LOCK_KEY = int.from_bytes(b"findme", "big")

logger = logging.getLogger(__name__)

NO_SHARED_SESSIONS = "If a pooler shares sessions between clients, connect DATABASE_URL directly to PostgreSQL, or set pool_mode = session."

SAME_SESSION_TRIES = 5
"""How often two connections compare their sessions. Other clients of a busy pooler can hide it once."""


class MigrationLock(AdvisoryLock):
    """The lock, held by a separate connection: an error on the connection that migrates does not release it."""

    def check(self) -> None:
        """Raise UserFacingError if the connection and its lock were lost: another process may hold the lock now."""
        reason, next_step = "it now uses another session", f"{NO_SHARED_SESSIONS} Then run it again."
        try:
            if self.is_held():
                return
        except (InterfaceError, OperationalError) as error:
            reason, next_step = " ".join(str(error).split()), "Run it again."
        raise UserFacingError(
            f"The connection that held the migration lock was lost ({reason}): no further migration was started. {next_step}"
        )


@contextmanager
def migration_lock(
    purpose: str,
    *,
    using: str = DEFAULT_DB_ALIAS,
    seconds: float | None = None,
    on_warning: Callable[[str], None] = logger.warning,
) -> Iterator[MigrationLock]:
    """Hold the lock for ``purpose`` ("migrate"). Other processes that wait for the lock report the purpose. The lock is not reentrant.

    Wait up to ``seconds`` (default: ``settings.MIGRATE_WAIT_SECONDS``) and report once which process holds the lock. Raise UserFacingError at the
    deadline. A process that dies loses the lock with its connection. A pooler that shares sessions breaks the lock: connect to PostgreSQL
    directly.
    """
    limit = settings.MIGRATE_WAIT_SECONDS if seconds is None else seconds
    with lock_session(purpose, using) as connection:
        lock = MigrationLock(connection, LOCK_KEY)

        def busy() -> UserFacingError:
            return UserFacingError(
                f"The migration lock was not free within {limit:g} s: {describe_holder(lock)}. Run the command again later,"
                " or wait longer with --wait-seconds."
            )

        def on_wait() -> None:
            if limit:
                on_warning(f"Waiting up to {limit:g} s for the migration lock: {describe_holder(lock)}.")

        with lock.held(limit, busy, on_wait):
            yield lock


def require_own_session(connection: BaseDatabaseWrapper) -> None:
    """Raise UserFacingError if a pooler gives each transaction another session. Changes no setting.

    Such a pooler breaks the lock, and gives settings of this session to other clients. If both connections have a session of their own, neither
    changes it, and they differ.
    """
    with closing(connection.copy()) as other:
        pids = [(_backend_pid(connection), _backend_pid(other)) for _ in range(SAME_SESSION_TRIES)]
    own, others = ({pair[number] for pair in pids} for number in range(2))
    if len(own) > 1 or len(others) > 1 or own == others:
        raise UserFacingError(
            "A pooler gives each transaction another session: nothing was done."
            " Connect DATABASE_URL directly to PostgreSQL, or set pool_mode = session."
        )


def _backend_pid(connection: BaseDatabaseWrapper) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])
