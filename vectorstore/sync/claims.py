"""Leasing people: nobody writes a person's point beside another, however many entries of the queue there are (protocol, rules 2, 3, 7 and 10).

In READ COMMITTED, and in this order: the people are claimed, one version is allocated for all of them, the collections are read, the transaction
ends; only then are the people's rows read. So of two claims of a person the one with the higher version has looked at PostgreSQL later.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.backends.utils import CursorWrapper

from findme.core.postgresql.arrays import uuid_array
from vectorstore.catalog import registry
from vectorstore.models import QueueEntry
from vectorstore.qdrant.connection import collection_name
from vectorstore.qdrant.errors import CollectionNotFound
from vectorstore.queue.entries import ALL_USERS, LOCK_OF
from vectorstore.queue.transactions import short_transaction

SPARE_ROWS, TIMES_MORE = 32, 4
"""Entries that are looked at beside one for each person: a few, since nearly everybody has one. While that finds too few people, as behind somebody
with many entries who is locked just now, it is so many times more."""

DUE = "NOT awaits_ack AND (not_before IS NULL OR not_before <= clock_timestamp())"
WHO = f"coalesce(user_id, '{ALL_USERS}')"
IS_DELETION = f"(cause = '{QueueEntry.Cause.DELETION}' AND user_id IS DISTINCT FROM '{ALL_USERS}' OR user_id IS NULL AND cause = '')"
"""A captured deletion of a user's row, or a TRUNCATE. The id that stands for all users is no TRUNCATE, if a user with that id is deleted."""


class Entry(NamedTuple):
    """A row of the queue, and whom it is about. ``is_deletion``: it removes the user's point even if the vector is unique."""

    id: int
    user_id: UUID
    is_deletion: bool = False


@dataclass(frozen=True, slots=True)
class Claim:
    """People whom WORKER holds, with the entries that are dropped when they are done, the version that their points get, and the collections
    that are written."""

    worker: UUID
    users: frozenset[UUID]
    entries: tuple[Entry, ...]
    version: int
    collections: tuple[str, ...]
    array: str = field(init=False, repr=False, compare=False)
    """The people for PostgreSQL, to which each statement gives them anew."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "array", uuid_array(self.users))

    @property
    def deletions(self) -> frozenset[UUID]:
        """The users whose deletion was captured, and ALL_USERS after a TRUNCATE."""
        return frozenset(entry.user_id for entry in self.entries if entry.is_deletion)

    @property
    def all_users(self) -> bool:
        """Whether a TRUNCATE is in it: whoever it took has to be looked for in the collections."""
        return ALL_USERS in self.users


def has_due_entries() -> bool:
    """Whether there is an entry to be claimed, unless others hold its person."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT EXISTS (SELECT FROM vector_sync_queue WHERE {DUE})")  # noqa: S608  # a constant
        return bool(cursor.fetchone()[0])


def claim_due(worker: UUID, limit: int, among: Sequence[UUID] | None = None) -> Claim | None:
    """Lease up to LIMIT people who are due (only such as are AMONG these, if any are named), the urgent first; None where there is nobody.

    Takes all due entries of each. Passes over people whom others hold, without waiting. Raises CollectionNotFound before ``init_qdrant``.
    """
    with short_transaction(durable=True) as cursor:
        due = _lockable_due(cursor, limit, among)
        # Looking everybody through takes a while, and nobody else is held meanwhile.
        users = _lease(cursor, worker, [ALL_USERS] if ALL_USERS in due else due)
        return _claim(cursor, worker, users, _entries(cursor, users), None) if users else None


def claim_users(worker: UUID, user_ids: Iterable[UUID], *, collections: tuple[str, ...] | None = None) -> Claim | None:
    """Lease those of the people whom nobody else holds, queued or not, to write them into COLLECTIONS (or all that are written).

    Their entries stay on the queue: another collection may need them.
    """
    with short_transaction(durable=True) as cursor:
        users = _lease(cursor, worker, _lockable(cursor, user_ids))
        return _claim(cursor, worker, users, (), collections) if users else None


def _lockable_due(cursor: CursorWrapper, limit: int, among: Sequence[UUID] | None) -> list[UUID]:
    """Candidates whose advisory lock is free, so that two that claim at the same time do not wait for each other's leases."""
    many = limit + SPARE_ROWS
    found, entries = _lockable_among_first(cursor, limit, many, among)
    while len(found) < limit and entries >= many:
        many *= TIMES_MORE
        found, entries = _lockable_among_first(cursor, limit, many, among)
    return found


def _lockable_among_first(cursor: CursorWrapper, limit: int, many: int, among: Sequence[UUID] | None) -> tuple[list[UUID], int]:
    """Of those with one of the first MANY entries of a lane; and how many entries those are."""
    free = f"""
        {DUE} AND NOT EXISTS (SELECT FROM vector_sync_leases l WHERE l.user_id = {WHO.replace("user_id", "q.user_id")} AND l.expires_at > clock_timestamp())
        {"AND q.user_id = ANY(%(among)s::uuid[])" if among is not None else ""}
    """
    cursor.execute(
        # Only constants are put together.
        f"""
        WITH candidates AS MATERIALIZED (
            (SELECT 0 AS lane, id, {WHO} AS person FROM vector_sync_queue q WHERE urgent AND {free} ORDER BY id LIMIT %(many)s)
            UNION ALL
            (SELECT 1, id, {WHO} FROM vector_sync_queue q WHERE {free} ORDER BY id LIMIT %(many)s)
        ), due_users AS MATERIALIZED (
            SELECT person FROM candidates GROUP BY person ORDER BY min(lane), min(id)
        )
        (SELECT person, NULL FROM due_users WHERE pg_try_advisory_xact_lock({LOCK_OF}) LIMIT %(limit)s)
        UNION ALL SELECT NULL, count(*) FROM candidates
        """,  # noqa: S608
        {"among": None if among is None else uuid_array(among), "many": many, "limit": limit},
    )
    *rows, (_, entries) = cursor.fetchall()
    return [row[0] for row in rows], entries


def _lockable(cursor: CursorWrapper, user_ids: Iterable[UUID]) -> list[UUID]:
    cursor.execute(
        f"SELECT person FROM (SELECT DISTINCT unnest(%s::uuid[]) AS person) asked WHERE pg_try_advisory_xact_lock({LOCK_OF})",  # noqa: S608
        [uuid_array(user_ids)],
    )
    return [row[0] for row in cursor.fetchall()]


def _lease(cursor: CursorWrapper, worker: UUID, users: list[UUID]) -> list[UUID]:
    """Lease those whom nobody holds. A statement of its own, after the locks: it sees what whoever had them before has committed.

    An expired lease is taken over, unless its holder is just renewing it; what that one sent may still arrive, so a recheck is queued.
    """
    asked: dict[str, Any] = {"worker": worker, "users": uuid_array(users), "lease": settings.SYNC_LEASE_SECONDS}
    cursor.execute("SELECT user_id FROM vector_sync_leases WHERE user_id = ANY(%(users)s::uuid[])", asked)
    known = {row[0] for row in cursor.fetchall()}
    expired: set[UUID] = set()
    if known:
        cursor.execute(
            """
            SELECT user_id FROM vector_sync_leases
            WHERE user_id = ANY(%(users)s::uuid[]) AND expires_at <= clock_timestamp() FOR UPDATE SKIP LOCKED
            """,
            asked,
        )
        expired = {row[0] for row in cursor.fetchall()}
        users = [user for user in users if user not in known or user in expired]
        asked["users"] = uuid_array(users)
    cursor.execute(
        """
        INSERT INTO vector_sync_leases (user_id, worker_id, expires_at)
        SELECT unnest(%(users)s::uuid[]), %(worker)s, clock_timestamp() + make_interval(secs => %(lease)s)
        ON CONFLICT (user_id) DO UPDATE SET worker_id = EXCLUDED.worker_id, expires_at = EXCLUDED.expires_at
        """,
        asked,
    )
    if expired:
        enqueue_rechecks(cursor, expired)
    return users


def enqueue_rechecks(cursor: CursorWrapper, users: Iterable[UUID]) -> None:
    """Have people looked at again, some time after Qdrant has answered: a request that nobody waits for any more may still be applied.

    However often that happens, one entry of each person awaits the answer, to what is sent from now on: an answer that was on its way before tells
    nothing of the last request. One that somebody has locked just begins its wait, for the requests before.
    """
    cursor.execute(
        """
        WITH waiting AS MATERIALIZED (
            SELECT id, coalesce(user_id, %(all_users)s) AS person FROM vector_sync_queue
            WHERE awaits_ack AND coalesce(user_id, %(all_users)s) = ANY(%(users)s::uuid[]) FOR UPDATE SKIP LOCKED
        ), waiting_anew AS (
            UPDATE vector_sync_queue q SET queued_at = clock_timestamp() FROM waiting WHERE q.id = waiting.id
        )
        INSERT INTO vector_sync_queue (user_id, urgent, awaits_ack, cause)
        SELECT nullif(person, %(all_users)s), true, true, %(cause)s FROM unnest(%(users)s::uuid[]) AS asked (person)
        WHERE NOT EXISTS (SELECT FROM waiting WHERE waiting.person = asked.person)
        """,
        {"users": uuid_array(users), "all_users": ALL_USERS, "cause": QueueEntry.Cause.RECHECK},
    )


def _entries(cursor: CursorWrapper, users: list[UUID]) -> tuple[Entry, ...]:
    """All that are due and visible now; a change that comes later queues another one. Whoever was quarantined has changed since."""
    asked: dict[str, Any] = {"users": uuid_array(users)}
    whose = f"(user_id IS NULL OR user_id = '{ALL_USERS}')" if users == [ALL_USERS] else "user_id = ANY(%(users)s::uuid[])"
    cursor.execute(
        # Only constants are put together.
        f"SELECT id, {WHO}, {IS_DELETION}, EXISTS (SELECT FROM vector_sync_quarantine) FROM vector_sync_queue WHERE {whose} AND {DUE}",  # noqa: S608
        asked,
    )
    rows = cursor.fetchall()
    if rows and rows[0][3]:  # Whom somebody else is taking out just now need not be waited for.
        cursor.execute(
            """
            DELETE FROM vector_sync_quarantine WHERE user_id IN (
                SELECT user_id FROM vector_sync_quarantine WHERE user_id = ANY(%(users)s::uuid[]) FOR UPDATE SKIP LOCKED
            )
            """,
            asked,
        )
    return tuple([Entry(entry, user, is_deletion) for entry, user, is_deletion, _ in rows])


def _claim(
    cursor: CursorWrapper, worker: UUID, users: list[UUID], entries: tuple[Entry, ...], collections: tuple[str, ...] | None
) -> Claim:
    cursor.execute("SELECT nextval('vector_sync_version')")
    (version,) = cursor.fetchone()
    if collections is None:
        collections = registry.write_targets()
    if not collections:
        raise CollectionNotFound(collection_name())
    return Claim(worker, frozenset(users), entries, version, collections)
