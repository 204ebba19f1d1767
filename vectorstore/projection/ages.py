"""Refresh of the ages in points after birthdays. A point has the age of the day on which it was written.

Days are in UTC. The day on which a point is written comes from the database, so no machine's clock can be behind the one that queued the user.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from findme.core.commands.progress import Report, ignore_progress
from findme.core.db.dates import LAST_DATE
from vectorstore.models import StoreState
from vectorstore.models.embedding import PROJECTABLE_USER
from vectorstore.queue.transactions import short_transaction

PAGE_SIZE = 10_000
"""Users checked in one transaction."""

NEVER = LAST_DATE
LATER_REFRESH = "ages_refreshed_on > %(day)s AND ages_refreshed_on <> %(never)s"

TODAY = "(clock_timestamp() AT TIME ZONE 'UTC')::date"

PAGE = f"""
    WITH page AS MATERIALIZED (
        SELECT user_id FROM profile_embeddings WHERE %(after)s::uuid IS NULL OR user_id > %(after)s::uuid ORDER BY user_id LIMIT %(size)s
    ), born AS MATERIALIZED (
        SELECT id, extract(month FROM date_of_birth) * 100 + extract(day FROM date_of_birth) AS birthday
        FROM page JOIN users ON id = user_id WHERE {PROJECTABLE_USER}
    ), queued AS (
        INSERT INTO vector_sync_queue (user_id)
        SELECT id FROM born WHERE %(all_users)s OR %(years)s + (birthday > %(from)s)::integer - (birthday > %(to)s)::integer <> 0
        RETURNING id
    )
    SELECT (SELECT count(*) FROM page), (SELECT user_id FROM page ORDER BY user_id DESC LIMIT 1), count(*), max(id) FROM queued
"""  # noqa: S608  # a constant

RECORD = """
    UPDATE vector_store_state SET
        ages_valid_on = CASE
            WHEN ages_refreshed_on > %(day)s THEN NULL
            WHEN EXISTS (SELECT FROM vector_sync_queue WHERE id <= ages_last_entry_id) THEN ages_valid_on ELSE ages_refreshed_on
        END,
        ages_last_entry_id = greatest(ages_last_entry_id, %(last)s),
        ages_refreshed_on = %(day)s
    WHERE ages_refreshed_on IS NULL OR ages_refreshed_on < %(day)s OR ages_refreshed_on = %(ahead)s
"""
"""Keep a day that another process recorded in the meantime, but replace the day ``ahead`` that is later than today."""


@dataclass(frozen=True, slots=True)
class Refreshed:
    """Result of a refresh on ``day``: of ``users`` checked, ``queued`` have another age than on ``since``.

    ``since`` is None if the day of the last refresh is unknown, or if a clock was ahead on it. No user is checked if ``since`` is ``day``.
    """

    day: date
    since: date | None
    users: int = 0
    queued: int = 0


@dataclass(frozen=True, slots=True)
class DaysOfPoints:
    """Every point has the age of a day from ``first`` to ``last``. None means that the day is unknown."""

    first: date | None
    last: date | None

    def widened(self, youngest: int | None, oldest: int | None, today: date) -> tuple[int | None, int | None]:
        """Widen an age range of ``today`` so that the points of all users in it match.

        ``youngest`` and ``oldest`` are in years, both included. None is no bound.
        """
        if youngest is not None:
            youngest = None if self.first is None else youngest - most_birthdays(self.first, today)
        if oldest is not None:
            oldest = None if self.last is None else oldest + most_birthdays(today, self.last)
        return youngest, oldest


def most_birthdays(since: date, day: date) -> int:
    """Return by how many years a user can have become older after ``since`` and up to ``day``.

    Return 0 if ``day`` is not later.
    """
    return max(0, day.year - since.year + ((since.month, since.day) < (day.month, day.day)))


def refresh_ages(*, day: date | None = None, size: int = PAGE_SIZE, report: Report = ignore_progress) -> Refreshed:
    """Queue every user with a point whose age has changed since the last refresh, up to ``day`` (today).

    Each transaction checks ``size`` users, in the order of their ids, and the last one records the day. A refresh that is interrupted starts
    again the next time. A user who is queued twice is written once.
    """
    recorded = StoreState.current().ages_refreshed_on
    day = day or _today()
    if recorded == day:
        return Refreshed(day, recorded)
    ahead = recorded if recorded is not None and recorded > day else None
    since = None if ahead else recorded
    parameters = _birthday_parameters(since, day)
    checked = queued = 0
    last_entry: int | None = None
    after: UUID | None = None
    total = _estimated_total()
    while True:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(PAGE, parameters | {"after": after, "size": size})
            found, after, more, highest = cursor.fetchone()
            last_entry = last_entry if highest is None else highest
            if more:
                cursor.execute("SELECT vector_sync_notify()")
            if found < size:
                cursor.execute(RECORD, {"day": day, "last": last_entry, "ahead": ahead})
        checked, queued = checked + found, queued + more
        report(checked, max(total, checked))
        if found < size:
            return Refreshed(day, since, checked, queued)


def days_of_points(*, day: date | None = None) -> DaysOfPoints:
    """Return what is known on ``day`` (today) about the days of the ages in Qdrant.

    This excludes users who are queued because of another change. If a clock was ahead once, points can have the age of a future day until all
    users who were queued for that day are written.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH state AS (
                SELECT ages_refreshed_on, ages_valid_on, greatest(ages_refreshed_on, coalesce(%(day)s, {TODAY})) AS latest,
                       EXISTS (SELECT FROM vector_sync_queue WHERE id <= ages_last_entry_id) AS queued
                FROM vector_store_state
            )
            SELECT CASE WHEN ages_refreshed_on > coalesce(%(day)s, {TODAY}) THEN NULL WHEN queued THEN ages_valid_on ELSE ages_refreshed_on END,
                   CASE WHEN queued AND ages_valid_on IS NULL THEN NULL ELSE latest END
            FROM state
            """,  # noqa: S608  # a constant
            {"day": day},
        )
        found = cursor.fetchone()
    return DaysOfPoints(*found) if found else DaysOfPoints(None, day or _today())


def disbelieve_days_after(day: date) -> None:
    """Discard a refresh for a day after ``day``, because points are now written with the ages of ``day``.

    A clock that was ahead had recorded that later day, and these points will be wrong on it. The recorded day becomes ``NEVER``, so the next
    refresh queues all users.
    """
    parameters = {"day": day, "never": NEVER}
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT EXISTS (SELECT FROM vector_store_state WHERE {LATER_REFRESH})", parameters)  # noqa: S608  # a constant
        if not cursor.fetchone()[0]:
            return
    with short_transaction() as cursor:
        cursor.execute(f"UPDATE vector_store_state SET ages_refreshed_on = %(never)s WHERE {LATER_REFRESH}", parameters)  # noqa: S608  # a constant


def _birthday_parameters(since: date | None, day: date) -> dict[str, Any]:
    """Return the parameters of ``PAGE``. A birthday is the number month * 100 + day, compared as in ``accounts.age.age_on``."""
    before = since or day
    return {
        "all_users": since is None,
        "years": day.year - before.year,
        "from": before.month * 100 + before.day,
        "to": day.month * 100 + day.day,
    }


def _today() -> date:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {TODAY}")
        found: date = cursor.fetchone()[0]
        return found


def _estimated_total() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'profile_embeddings'::regclass")
        found: int = cursor.fetchone()[0]
        return found
