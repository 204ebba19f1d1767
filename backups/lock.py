"""The lock that a process takes while it makes or removes backups of a database, so only one does at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from findme.core.db.advisory_lock import AdvisoryLock, describe_holder, lock_session
from findme.core.errors import UserFacingError

LOCK_KEY = int.from_bytes(b"backups", "big")


@contextmanager
def backup_lock(purpose: str) -> Iterator[None]:
    """Hold the lock for ``purpose``, such as "backup". Raise UserFacingError at once if another process holds it."""
    with lock_session(purpose) as connection:
        lock = AdvisoryLock(connection, LOCK_KEY)

        def busy() -> UserFacingError:
            return UserFacingError(
                f"Another process makes or removes backups of this database ({describe_holder(lock)}): nothing was changed. Wait until it ends, then"
                " run this command again."
            )

        with lock.held(0, busy):
            yield
