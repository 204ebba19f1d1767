"""Keeping and ending a claim (protocol, rules 2, 5 and 7). Each function is one transaction of its own."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.backends.utils import CursorWrapper

from findme.core.errors import UserFacingError
from vectorstore.qdrant.address import whole_timeout_seconds
from vectorstore.queue.transactions import short_transaction
from vectorstore.sync.claims import Claim, enqueue_rechecks
from vectorstore.sync.results import RejectedUser


class LeaseLost(UserFacingError):
    """Somebody else has taken the people over, or may do so before Qdrant has answered: nothing may be sent for them any more."""

    needs_operator = False  # another worker writes these users

    def __init__(self) -> None:
        super().__init__("The lease of people who were being written has run out: others write them now. Raise SYNC_LEASE_SECONDS.")


def renew(claim: Claim) -> datetime:
    """Lease everybody of the claim anew, by the database's clock, and say what it shows: what is sent now is sent after that.

    Raises LeaseLost, unless all are still held and more than a request's timeout is left.
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
    found: datetime = now
    return found


def finish(claim: Claim, rejected: Collection[RejectedUser] = ()) -> int:
    """Drop the entries of those who are done, exactly the claimed ones, and release all users; how many leases were lost meanwhile.

    REFUSED users are quarantined. Whoever was taken over by another worker is queued again.
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
    """Release all users, with their entries still on the queue; UNANSWERED means that what was sent may still be applied."""
    with short_transaction() as cursor:
        if unanswered:
            enqueue_rechecks(cursor, claim.users)
        _release(cursor, claim)


def expire_leases() -> int:
    """Free people whose lease has run out, and have them looked at again: who held them without an entry of the queue, and was killed, is missed by
    no claim. How many they are. Whoever claims one of them just now does it by themselves. Workers who were killed go off the list, too."""
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
    """Release all users whom WORKER still holds, whatever came in between. What it sent may still be applied."""
    with short_transaction() as cursor:
        cursor.execute("DELETE FROM vector_sync_leases WHERE worker_id = %s RETURNING user_id", [worker])
        if users := [row[0] for row in cursor.fetchall()]:
            enqueue_rechecks(cursor, users)
        cursor.execute("DELETE FROM vector_sync_workers WHERE id = %s", [worker])


def start_recheck_delay(sent_at: datetime) -> int:
    """Begin the wait of the rechecks that were queued before SENT_AT (by the database's clock), since Qdrant has answered what was sent then.

    Those that another worker begins just now are left to it: two would wait for each other.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE vector_sync_queue SET awaits_ack = false, not_before = clock_timestamp() + make_interval(secs => %s)
            WHERE id IN (SELECT id FROM vector_sync_queue WHERE awaits_ack AND queued_at < %s FOR UPDATE SKIP LOCKED)
            """,
            [settings.SYNC_RECHECK_SECONDS, sent_at],
        )
        return int(cursor.rowcount)


def database_clock() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        found: datetime = cursor.fetchone()[0]
        return found


def _of(claim: Claim) -> dict[str, Any]:
    return {"worker": claim.worker, "users": claim.array}


def _release(cursor: CursorWrapper, claim: Claim) -> set[UUID]:
    """Who was held until now. Until this transaction ends nobody takes them over; a lease that was released in a transaction that is rolled
    back still holds."""
    cursor.execute(
        """
        DELETE FROM vector_sync_leases WHERE worker_id = %(worker)s AND user_id = ANY(%(users)s::uuid[])
        RETURNING user_id, expires_at > clock_timestamp()
        """,
        _of(claim),
    )
    return {user_id for user_id, held in cursor.fetchall() if held}


def _quarantine(cursor: CursorWrapper, rejected: RejectedUser) -> None:
    """Unless the person has gone meanwhile: that is a deletion, which is queued."""
    cursor.execute(
        """
        INSERT INTO vector_sync_quarantine (user_id, reason, collection)
        SELECT id, %s, %s FROM users WHERE id = %s
        ON CONFLICT (user_id) DO UPDATE SET reason = EXCLUDED.reason, collection = EXCLUDED.collection, quarantined_at = now()
        """,
        [rejected.reason, rejected.collection, rejected.user_id],
    )
