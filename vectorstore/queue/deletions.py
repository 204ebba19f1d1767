"""When a point was last removed. Whatever was copied out of the store before that may still hold it."""

from __future__ import annotations

from datetime import UTC, datetime

from django.db import connection


def note_removal() -> None:
    """A point that is there is about to be removed. Before it is: killed in between, whoever comes next finds it there, and says so again.

    Nobody waits for anybody over it, and a transaction that is rolled back leaves it noted.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT setval('vector_last_deletion_at', ceil(extract(epoch FROM clock_timestamp()) * 1000)::bigint)")


def last_removal() -> datetime:
    """When the last one was about to be removed, by the database's clock. Before the first of this release: when its tables were made."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT last_value FROM vector_last_deletion_at")
        return datetime.fromtimestamp(cursor.fetchone()[0] / 1000, UTC)
