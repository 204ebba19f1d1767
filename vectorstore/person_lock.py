"""Nobody writes a person's point beside another: an advisory lock a person, held until the transaction ends."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from uuid import UUID

from django.db import OperationalError, connection
from psycopg.errors import LockNotAvailable

from findme.console.errors import StoreUnavailable

LOCK_SECONDS = 30
"""How long to wait for others who write the same people: several batches of theirs."""


@contextmanager
def _waiting_told() -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        if isinstance(error.__cause__, LockNotAvailable):
            raise StoreUnavailable(
                "Somebody else is writing the points of the same people, and has not been done in time: see what runs, and run it again."
            ) from error
        raise


def lock_people(user_ids: Iterable[UUID]) -> None:
    """Lock the people, in one order for everyone, until the transaction ends. Statements that come after it see what those before it committed
    (READ COMMITTED). Waits as long as the transaction's ``lock_timeout`` says, or LOCK_SECONDS; then raises StoreUnavailable."""
    with _waiting_told(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('lock_timeout', %s, true) WHERE current_setting('lock_timeout') = '0'", [f"{LOCK_SECONDS * 1000:.0f}ms"]
        )
        cursor.execute("SELECT pg_advisory_xact_lock(key) FROM unnest(%s::bigint[]) AS key", [sorted(map(key_of, user_ids))])


def key_of(user_id: UUID) -> int:
    """64 bits of a hash, with a name in it, so that advisory locks of other things do not meet these."""
    return int.from_bytes(hashlib.sha256(b"findme point of " + user_id.bytes).digest()[:8], signed=True)
