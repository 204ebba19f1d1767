"""Renew and end claims (protocol rules 2 and 5). Each function is one transaction."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.backends.utils import CursorWrapper

from findme.core.errors import UserFacingError
from vectorstore.qdrant.address import whole_timeout_seconds
from vectorstore.queue.transactions import short_transaction
from vectorstore.sync.claims import Claim
from vectorstore.sync.rechecks import enqueue_rechecks
from vectorstore.sync.results import RejectedUser


class LeaseLost(UserFacingError):
    """Another worker has leased the users, or may do so before Qdrant answers. Nothing more may be sent for them."""

    needs_operator = False  # another worker writes these users

    def __init__(self) -> None:
        super().__init__(
            "The lease on this batch expired and another worker may have taken it over. If this repeats, increase SYNC_LEASE_SECONDS."
        )


def renew(claim: Claim) -> datetime:
    """Extend the leases of the claim. Return the database's time, which is before everything that is sent from now on.

    Raises LeaseLost, unless all users are still held and more than the request's timeout is left.
    """
    with short_transaction() as cursor:
        cursor.execute(
            """
            WITH renewed AS (
                UPDATE vector_sync_leases SET expires_at = clock_timestamp() + make_interval(secs => %(lease)s)
                WHERE worker_id = %(worker)s AND user_id = ANY(%(users)s::uuid[]) AND expires_at > clock_timestamp()
                RETURNING expires_at
            )
            SELECT clock_timestamp(), count(*), min(expires_at) > clock_timestamp() + make_interval(secs => %(timeout)s) FROM renewed
            """,
            _of(claim) | {"lease": settings.SYNC_LEASE_SECONDS, "timeout": whole_timeout_seconds()},
        )
        now, renewed, enough = cursor.fetchone()
    if renewed != len(claim.users) or not enough:
        raise LeaseLost
    time: datetime = now
    return time


def finish(claim: Claim, rejected: Collection[RejectedUser] = ()) -> int:
    """Delete exactly the claimed entries of the users that are done, and release all users. Return how many leases were lost.

    ``rejected`` users are quarantined. Users that another worker has leased are enqueued again.
    """
    with short_transaction() as cursor:
        held = _release(cursor, claim)
        lost = claim.users - held if len(held) < len(claim.users) else ()
        done = [entry.id for entry in claim.entries if not lost or entry.user_id in held]
        cursor.execute("DELETE FROM vector_sync_queue WHERE id = ANY(%s::bigint[])", [done])
        for user in rejected:
            if user.user_id in held:
                _quarantine(cursor, user)
        if lost:
            enqueue_rechecks(cursor, lost)
    return len(lost)


def release(claim: Claim, *, unanswered: bool) -> None:
    """Release all users. Their entries stay on the queue. ``unanswered`` means that Qdrant may still apply what was sent."""
    with short_transaction() as cursor:
        if unanswered:
            enqueue_rechecks(cursor, claim.users)
        _release(cursor, claim)


def expire_leases() -> int:
    """Delete expired leases, at most 1,000, and enqueue rechecks of their users. Return the number of users.

    A killed worker may have held users without a queue entry, which no claim would find. Leases that a claim has locked are skipped:
    the claim enqueues these rechecks itself. Workers without a heartbeat for an hour are deleted too.
    """
    with short_transaction() as cursor:
        cursor.execute(
            """
            DELETE FROM vector_sync_leases WHERE user_id IN (
                SELECT user_id FROM vector_sync_leases WHERE expires_at <= clock_timestamp() LIMIT 1000 FOR UPDATE SKIP LOCKED
            ) RETURNING user_id
            """
        )
        users = [row[0] for row in cursor.fetchall()]
        if users:
            enqueue_rechecks(cursor, users)
        cursor.execute("DELETE FROM vector_sync_workers WHERE heartbeat_at < clock_timestamp() - interval '1 hour'")
    return len(users)


def release_all(worker: UUID) -> None:
    """Release all users that ``worker`` still holds, after any error. Qdrant may still apply what the worker sent."""
    with short_transaction() as cursor:
        cursor.execute("DELETE FROM vector_sync_leases WHERE worker_id = %s RETURNING user_id", [worker])
        if users := [row[0] for row in cursor.fetchall()]:
            enqueue_rechecks(cursor, users)
        cursor.execute("DELETE FROM vector_sync_workers WHERE id = %s", [worker])


def _of(claim: Claim) -> dict[str, Any]:
    return {"worker": claim.worker, "users": claim.array}


def _release(cursor: CursorWrapper, claim: Claim) -> set[UUID]:
    """Delete the claim's leases and return the users whose lease was still valid.

    Until this transaction ends, no other worker can lease these users. If the transaction is rolled back, the leases remain.
    """
    cursor.execute(
        """
        DELETE FROM vector_sync_leases WHERE worker_id = %(worker)s AND user_id = ANY(%(users)s::uuid[])
        RETURNING user_id, expires_at > clock_timestamp()
        """,
        _of(claim),
    )
    return {user_id for user_id, held in cursor.fetchall() if held}


def _quarantine(cursor: CursorWrapper, rejected: RejectedUser) -> None:
    """Quarantine the user, unless the user's row is gone: its deletion is then on the queue."""
    cursor.execute(
        """
        INSERT INTO vector_sync_quarantine (user_id, reason, collection)
        SELECT id, %s, %s FROM users WHERE id = %s
        ON CONFLICT (user_id) DO UPDATE SET reason = EXCLUDED.reason, collection = EXCLUDED.collection, quarantined_at = now()
        """,
        [rejected.reason, rejected.collection, rejected.user_id],
    )
