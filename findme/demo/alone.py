"""One demo at a time in a database: two would load the same rows beside each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from django.db import DatabaseError, InterfaceError, connection

from findme.core.errors import NotDone

LOCK_KEY = int.from_bytes(b"fm demo", "big")


@contextmanager
def alone() -> Iterator[None]:
    """An advisory lock, held by a connection of its own, which goes with the process. Raises NotDone if another demo holds it."""
    own = connection.copy()
    try:
        with own.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK_KEY])
            if not cursor.fetchone()[0]:
                raise NotDone(f"Another demo is running in the database {own.settings_dict['NAME']!r}: wait until it is done.")
            try:
                yield
            finally:
                with suppress(DatabaseError, InterfaceError):  # a lost connection has no lock
                    # PostgreSQL notices a closed connection only later, and would refuse the next demo until then.
                    cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK_KEY])
    finally:
        own.close()
