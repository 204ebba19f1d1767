"""Rechecks: users whose point is written again, because Qdrant may still apply an earlier request (protocol rule 7).

An absent point accepts any write. So a request that Qdrant applies late can bring the point of a deleted user back.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.backends.utils import CursorWrapper

from findme.core.postgresql.arrays import uuid_array
from vectorstore.models import QueueEntry
from vectorstore.queue.entries import ALL_USERS


def enqueue_rechecks(cursor: CursorWrapper, users: Iterable[UUID]) -> None:
    """Enqueue rechecks, deferred until Qdrant has answered: an abandoned request may still be applied (protocol rule 7).

    Each user has at most one entry that awaits an acknowledgment. A repeated call sets its time to now, because an answer to an
    earlier request says nothing about the last one. If another worker has locked that entry, the delay for the earlier requests is
    just beginning, and a new entry is added.
    """
    cursor.execute(
        """
        WITH waiting AS MATERIALIZED (
            SELECT id, coalesce(user_id, %(all_users)s) AS person FROM vector_sync_queue
            WHERE awaits_ack AND coalesce(user_id, %(all_users)s) = ANY(%(users)s::uuid[]) FOR UPDATE SKIP LOCKED
        ), restarted AS (
            UPDATE vector_sync_queue q SET queued_at = clock_timestamp() FROM waiting WHERE q.id = waiting.id
        )
        INSERT INTO vector_sync_queue (user_id, urgent, awaits_ack, cause)
        SELECT nullif(person, %(all_users)s), true, true, %(cause)s FROM unnest(%(users)s::uuid[]) AS asked (person)
        WHERE NOT EXISTS (SELECT FROM waiting WHERE waiting.person = asked.person)
        """,
        {"users": uuid_array(users), "all_users": ALL_USERS, "cause": QueueEntry.Cause.RECHECK},
    )


def start_recheck_delay(sent_at: datetime) -> int:
    """Start the delay of the rechecks that were queued before ``sent_at``: Qdrant has answered a request sent then.

    ``sent_at`` is a time of the database's clock. Rechecks that another worker has locked are skipped, or both would wait for each other.
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
