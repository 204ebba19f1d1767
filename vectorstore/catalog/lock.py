"""The PostgreSQL advisory lock for changes to collections.

Only one process at a time creates, moves or drops collections of one name in one database.
"""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager

from django.conf import settings
from django.db import connection

from findme.core.db.advisory_lock import AdvisoryLock
from findme.core.errors import UserFacingError
from vectorstore.qdrant.connection import collection_name


def collection_lock(*, seconds: float | None = None) -> AbstractContextManager[None]:
    """Hold the lock during a block, and wait up to ``seconds`` (``settings.MIGRATE_WAIT_SECONDS``) for other processes.

    Take it before the folder of the embedded store. Raise UserFacingError after the wait. PostgreSQL releases the lock of a process that dies.
    """
    timeout = settings.MIGRATE_WAIT_SECONDS if seconds is None else seconds
    return advisory_lock().held(
        timeout,
        lambda: UserFacingError(
            f"Another process has been changing the collections of {collection_name()!r} for {timeout:g} s: wait for it, then run it again."
        ),
    )


def advisory_lock() -> AdvisoryLock:
    """Return the lock for the collection's name, in the session of this thread."""
    return AdvisoryLock(connection, lock_key())


def keep_session() -> None:
    """Send a statement, so that PostgreSQL does not end the idle session that holds the lock during a long operation of Qdrant.

    Raise OperationalError if the session has ended: the lock is lost then.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT")


def lock_key() -> int:
    """Return 64 bits of a hash of the collection's name."""
    return int.from_bytes(hashlib.sha256(f"findme collection {collection_name()}".encode()).digest()[:8], signed=True)
