"""One at a time for a collection's name and a database: whoever makes, moves or drops collections holds an advisory lock of PostgreSQL's."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection

from findme.core.errors import UserFacingError
from vectorstore.qdrant.connection import collection_name

POLL_SECONDS = 0.1


@contextmanager
def collection_lock(*, seconds: float | None = None) -> Iterator[None]:
    """Hold it. Waits SECONDS (``settings.MIGRATE_LOCK_SECONDS``) for others, by polling, so that nobody holds a snapshot while waiting.

    Take it before the embedded store's folder. Raises UserFacingError. Whoever dies loses it with the connection.
    """
    timeout = settings.MIGRATE_LOCK_SECONDS if seconds is None else seconds
    deadline = time.monotonic() + timeout
    while not try_lock():
        if time.monotonic() >= deadline:
            raise UserFacingError(
                f"Somebody else has been making or moving collections of {collection_name()!r} for {timeout:g} s: wait for it, and run it again."
            )
        time.sleep(POLL_SECONDS)
    try:
        yield
    finally:
        unlock()


def try_lock() -> bool:
    """Take it if it is free; whether it was."""
    return _ask("SELECT pg_try_advisory_lock(%s)")


def unlock() -> None:
    with suppress(InterfaceError, OperationalError):  # the lock is gone with the session
        _ask("SELECT pg_advisory_unlock(%s)")


def keep_session() -> None:
    """The session that holds the lock is not to end for having nothing to do while Qdrant is at work for long. Raises OperationalError where it has
    ended, and the lock with it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT")


def lock_key() -> int:
    """64 bits of a hash of the collection's name."""
    return int.from_bytes(hashlib.sha256(f"findme collection {collection_name()}".encode()).digest()[:8], signed=True)


def _ask(statement: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(statement, [lock_key()])
        return bool(cursor.fetchone()[0])
