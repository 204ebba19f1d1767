"""One moment of the database, which several sessions and ``pg_dump`` can read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime

from django.db import InterfaceError, OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper

from findme.core.db.session import without_time_limits
from findme.migrator.lock import require_own_session


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot that PostgreSQL exports while ``connection`` is open: its queries see the snapshot too.

    All that committed before ``taken_at``, by the clock of the database, is in the snapshot. What committed shortly after it can be too.
    """

    id: str
    taken_at: datetime
    connection: BaseDatabaseWrapper


@contextmanager
def exported_snapshot(connection: BaseDatabaseWrapper) -> Iterator[Snapshot]:
    """Export a snapshot from a session of its own, which reads only and has no time limits. It works on a standby too.

    Raises UserFacingError behind a pooler that shares sessions.
    """
    require_own_session(connection)
    with closing(connection.copy()) as session, without_time_limits(session):
        with session.cursor() as cursor:
            cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        try:
            with session.cursor() as cursor:
                # The time is that of BEGIN, and the first query takes the snapshot.
                cursor.execute("SELECT pg_export_snapshot(), transaction_timestamp()")
                snapshot_id, taken_at = cursor.fetchone()
                yield Snapshot(snapshot_id, taken_at, session)
        finally:
            # The session ends anyway; a lost one has ended already.
            with suppress(InterfaceError, OperationalError), session.cursor() as cursor:
                cursor.execute("ROLLBACK")
