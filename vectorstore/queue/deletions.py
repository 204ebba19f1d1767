"""The time of the last deleted point. A snapshot made before that time may still hold the point."""

from __future__ import annotations

from datetime import UTC, datetime

from django.db import connection


def note_removal() -> None:
    """Record the current time as the time of the last deletion. Call this before an existing point is deleted.

    If the process is killed between the two steps, the next process finds the point and records its deletion again. The time is the value of
    a sequence: no transaction waits for another one, and a rollback keeps the value.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT setval('vector_last_deletion_at', ceil(extract(epoch FROM clock_timestamp()) * 1000)::bigint)")


def last_removal() -> datetime:
    """Return the time recorded before the last deletion, by the database's clock.

    Before the first deletion it is the time of the migration that created the sequence.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT last_value FROM vector_last_deletion_at")
        return datetime.fromtimestamp(cursor.fetchone()[0] / 1000, UTC)
