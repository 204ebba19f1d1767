"""One at a time for a collection's name and a database: whoever makes, moves or drops collections holds an advisory lock of PostgreSQL's."""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager

from django.conf import settings
from django.db import connection

from findme.core.db.advisory_lock import AdvisoryLock
from findme.core.errors import UserFacingError
from vectorstore.qdrant.connection import collection_name


def collection_lock(*, seconds: float | None = None) -> AbstractContextManager[None]:
    """Hold it. Waits SECONDS (``settings.MIGRATE_WAIT_SECONDS``) for others.

    Take it before the embedded store's folder. Raises UserFacingError. Whoever dies loses it with the connection.
    """
    timeout = settings.MIGRATE_WAIT_SECONDS if seconds is None else seconds
    return advisory_lock().held(
        timeout,
        lambda: UserFacingError(
            f"Somebody else has been making or moving collections of {collection_name()!r} for {timeout:g} s: wait for it, and run it again."
        ),
    )


def advisory_lock() -> AdvisoryLock:
    """Return the lock for the collection's name, in the session of this thread."""
    return AdvisoryLock(connection, lock_key())


def keep_session() -> None:
    """The session that holds the lock is not to end for having nothing to do while Qdrant is at work for long. Raises OperationalError where it has
    ended, and the lock with it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT")


def lock_key() -> int:
    """64 bits of a hash of the collection's name."""
    return int.from_bytes(hashlib.sha256(f"findme collection {collection_name()}".encode()).digest()[:8], signed=True)
