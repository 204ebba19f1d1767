"""PostgreSQL's clock, which dates the rows. The clock of this machine can differ."""

from __future__ import annotations

from datetime import datetime

from django.db import connection


def database_clock() -> datetime:
    """Return the time now. It moves on within a transaction."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
    return now
