"""Claims: lease users, so that no two workers write one user's point at the same time (protocol rules 2, 3 and 10).

However many queue entries a user has, one worker holds the user.

In READ COMMITTED, in this order: the users are leased, one version is allocated for all of them, the collections are read, the
transaction ends. Only then are the users' rows read. Of two claims of one user, the claim with the higher version has therefore read
PostgreSQL later.
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
from vectorstore.sync.rechecks import enqueue_rechecks

SPARE_ROWS, GROWTH = 32, 4
"""How many entries are read in addition to one for each user, and the factor when that finds too few users.

Nearly every user has one entry, so a few more suffice. A locked user with many entries can hide the others.
"""

DUE = "NOT awaits_ack AND (not_before IS NULL OR not_before <= clock_timestamp())"
WHO = f"coalesce(user_id, '{ALL_USERS}')"
IS_DELETION = f"(cause = '{QueueEntry.Cause.DELETION}' AND user_id IS DISTINCT FROM '{ALL_USERS}' OR user_id IS NULL AND cause = '')"
"""A captured deletion of a user's row, or a TRUNCATE.

The deletion of a user whose id equals ``ALL_USERS`` is no TRUNCATE.
"""


class Entry(NamedTuple):
    """A row of the queue and its user. With ``is_deletion`` the user's point is removed even if its vector is unique."""

    id: int
    user_id: UUID
    is_deletion: bool = False


@dataclass(frozen=True, slots=True)
class Claim:
    """Users that ``worker`` holds, the version of their points, and the collections to write.

    ``entries`` are deleted from the queue when the claim is finished. ``copies`` receive deletions only.
    """

    worker: UUID
    users: frozenset[UUID]
    entries: tuple[Entry, ...]
    version: int
    collections: tuple[str, ...]
    copies: tuple[str, ...] = ()
    array: str = field(init=False, repr=False, compare=False)
    """The users as an array literal for PostgreSQL. Every statement of the claim sends it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "array", uuid_array(self.users))

    @property
    def deletions(self) -> frozenset[UUID]:
        """Return the users whose deletion was captured, and ALL_USERS after a TRUNCATE."""
        return frozenset(entry.user_id for entry in self.entries if entry.is_deletion)

    @property
    def all_users(self) -> bool:
        """Return whether the claim holds a TRUNCATE. The removed users must then be searched in the collections."""
        return ALL_USERS in self.users


def has_due_entries() -> bool:
    """Return whether the queue has a due entry. Its user may be leased by another worker."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT EXISTS (SELECT FROM vector_sync_queue WHERE {DUE})")  # noqa: S608  # a constant
        return bool(cursor.fetchone()[0])


def claim_due(worker: UUID, limit: int, among: Sequence[UUID] | None = None) -> Claim | None:
    """Lease up to ``limit`` due users, urgent ones first. Return None if there is none.

    ``among`` restricts the claim to these users. Takes all due entries of each user. Skips users that other workers hold, without
    waiting. Raises CollectionNotFound before ``init_qdrant``.
    """
    with short_transaction(durable=True) as cursor:
        due = _lockable_due(cursor, limit, among)
        # A scan for orphans takes a while. No other user is held during it.
        users = _lease(cursor, worker, [ALL_USERS] if ALL_USERS in due else due)
        return _claim(cursor, worker, users, _entries(cursor, users), None) if users else None


def claim_users(worker: UUID, user_ids: Iterable[UUID], *, collections: tuple[str, ...] | None = None) -> Claim | None:
    """Lease those of the users that no other worker holds, queued or not, to write ``collections`` (default: all write targets).

    Their entries stay on the queue: another collection may need them.
    """
    with short_transaction(durable=True) as cursor:
        users = _lease(cursor, worker, _lockable(cursor, user_ids))
        return _claim(cursor, worker, users, (), collections) if users else None


def _lockable_due(cursor: CursorWrapper, limit: int, among: Sequence[UUID] | None) -> list[UUID]:
    """Return due users whose advisory lock is free. Two simultaneous claims then do not wait for each other's leases."""
    row_limit = limit + SPARE_ROWS
    found, entries = _lockable_among_first(cursor, limit, row_limit, among)
    while len(found) < limit and entries >= row_limit:
        row_limit *= GROWTH
        found, entries = _lockable_among_first(cursor, limit, row_limit, among)
    return found


def _lockable_among_first(cursor: CursorWrapper, limit: int, row_limit: int, among: Sequence[UUID] | None) -> tuple[list[UUID], int]:
    """Return the lockable users of the first ``row_limit`` entries of each lane, and the number of those entries."""
    free = f"""
        {DUE} AND NOT EXISTS (SELECT FROM vector_sync_leases l WHERE l.user_id = {WHO.replace("user_id", "q.user_id")} AND l.expires_at > clock_timestamp())
        {"AND q.user_id = ANY(%(among)s::uuid[])" if among is not None else ""}
    """
    cursor.execute(
        # Only constants are concatenated.
        f"""
        WITH candidates AS MATERIALIZED (
            (SELECT 0 AS lane, id, {WHO} AS person FROM vector_sync_queue q WHERE urgent AND {free} ORDER BY id LIMIT %(row_limit)s)
            UNION ALL
            (SELECT 1, id, {WHO} FROM vector_sync_queue q WHERE {free} ORDER BY id LIMIT %(row_limit)s)
        ), due_users AS MATERIALIZED (
            SELECT person FROM candidates GROUP BY person ORDER BY min(lane), min(id)
        )
        (SELECT person, NULL FROM due_users WHERE pg_try_advisory_xact_lock({LOCK_OF}) LIMIT %(limit)s)
        UNION ALL SELECT NULL, count(*) FROM candidates
        """,  # noqa: S608
        {"among": None if among is None else uuid_array(among), "row_limit": row_limit, "limit": limit},
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
    """Lease those of the users that no worker holds, and return them.

    Runs as a statement of its own after the locks, so it sees what the previous lock holders have committed. An expired lease changes
    hands, unless its holder is renewing it. The previous holder's last request may still be applied, so a recheck is enqueued.
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


def _entries(cursor: CursorWrapper, users: list[UUID]) -> tuple[Entry, ...]:
    """Return all due entries that are visible now, and end the quarantine of these users: they have changed since.

    A later change adds another entry.
    """
    asked: dict[str, Any] = {"users": uuid_array(users)}
    whose = f"(user_id IS NULL OR user_id = '{ALL_USERS}')" if users == [ALL_USERS] else "user_id = ANY(%(users)s::uuid[])"
    cursor.execute(
        # Only constants are concatenated.
        f"SELECT id, {WHO}, {IS_DELETION}, EXISTS (SELECT FROM vector_sync_quarantine) FROM vector_sync_queue WHERE {whose} AND {DUE}",  # noqa: S608
        asked,
    )
    rows = cursor.fetchall()
    # Another transaction may be removing some of the users. The claim does not wait for it.
    if rows and rows[0][3]:
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
    copies: tuple[str, ...] = ()
    if collections is None:
        collections, copies = registry.targets()
    if not collections:
        raise CollectionNotFound(collection_name())
    return Claim(worker, frozenset(users), entries, version, collections, copies)
