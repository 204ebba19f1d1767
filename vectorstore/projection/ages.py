"""Ages in the vector store: a point has the age of the day on which it was written, until somebody's birthday queues them.

Days are UTC's. Those on which points are written are the database's, so that no machine's clock can be behind the one that queued.
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
"""People who are looked at in one transaction."""

NEVER = LAST_DATE
TO_COME = "ages_refreshed_on > %(day)s AND ages_refreshed_on <> %(never)s"

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
"""A day that somebody else has noted meanwhile stays; one that was AHEAD of the clock before does not."""


@dataclass(frozen=True, slots=True)
class Refreshed:
    """On ``day``: of ``people`` who were looked at, ``queued`` have another age than on ``since`` (None: it is not known when they were refreshed, or
    a clock was ahead then). Where ``since`` is ``day`` already, nobody was looked at."""

    day: date
    since: date | None
    people: int = 0
    queued: int = 0


@dataclass(frozen=True, slots=True)
class DaysOfPoints:
    """Every point has the age of some day between ``first`` and ``last``; None is any day."""

    first: date | None
    last: date | None

    def widened(self, youngest: int | None, oldest: int | None, today: date) -> tuple[int | None, int | None]:
        """Bounds that the points have of everyone who is from YOUNGEST to OLDEST years old TODAY, both included; None is no bound."""
        if youngest is not None:
            youngest = None if self.first is None else youngest - most_birthdays(self.first, today)
        if oldest is not None:
            oldest = None if self.last is None else oldest + most_birthdays(today, self.last)
        return youngest, oldest


def most_birthdays(since: date, day: date) -> int:
    """The years by which somebody can have become older after SINCE and up to DAY; 0 where DAY is not later."""
    return max(0, day.year - since.year + ((since.month, since.day) < (day.month, day.day)))


def refresh_ages(*, day: date | None = None, size: int = PAGE_SIZE, report: Report = ignore_progress) -> Refreshed:
    """Queue everyone with a point whose age has changed since this was last done, up to DAY (today).

    SIZE people in a transaction, in the order of their ids; the last transaction notes the day. Stopped before, it begins anew the next time, and
    whoever is queued twice is written once.
    """
    noted = StoreState.current().ages_refreshed_on
    day = day or _today()
    if noted == day:
        return Refreshed(day, noted)
    ahead = noted if noted is not None and noted > day else None
    since = None if ahead else noted
    turned = _turned(since, day)
    looked_at = queued = 0
    last_entry: int | None = None
    after: UUID | None = None
    total = _roughly_all()
    while True:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(PAGE, turned | {"after": after, "size": size})
            found, after, more, highest = cursor.fetchone()
            last_entry = last_entry if highest is None else highest
            if more:
                cursor.execute("SELECT vector_sync_notify()")
            if found < size:
                cursor.execute(RECORD, {"day": day, "last": last_entry, "ahead": ahead})
        looked_at, queued = looked_at + found, queued + more
        report(looked_at, max(total, looked_at))
        if found < size:
            return Refreshed(day, since, looked_at, queued)


def days_of_points(*, day: date | None = None) -> DaysOfPoints:
    """What is known on DAY (today) of the points in Qdrant, but for people who have changed otherwise and are still queued for that. Where a clock was
    ahead once, points are of a day to come until everybody who was queued for it is written."""
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
    """Points are written with the ages of DAY: where ages were refreshed for a later one, by a clock that was ahead, they will not be right on it.
    So that one never comes, and the next job queues everybody."""
    asked = {"day": day, "never": NEVER}
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT EXISTS (SELECT FROM vector_store_state WHERE {TO_COME})", asked)  # noqa: S608  # a constant
        if not cursor.fetchone()[0]:
            return
    with short_transaction() as cursor:
        cursor.execute(f"UPDATE vector_store_state SET ages_refreshed_on = %(never)s WHERE {TO_COME}", asked)  # noqa: S608  # a constant


def _turned(since: date | None, day: date) -> dict[str, Any]:
    """For whom the query looks. A birthday is month * 100 + day, which a day has reached or not: ``accounts.age.age_on`` counts in the same way."""
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


def _roughly_all() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'profile_embeddings'::regclass")
        found: int = cursor.fetchone()[0]
        return found
