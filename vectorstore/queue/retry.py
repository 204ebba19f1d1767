"""Trying people again whom Qdrant refused."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from django.db import connection, transaction

from privacy.audit import Action, record_each

RETRY = """
    WITH freed AS (DELETE FROM vector_sync_aside WHERE %(everybody)s OR user_id = ANY(%(people)s::uuid[]) RETURNING user_id)
    INSERT INTO vector_sync_queue (user_id, urgent) SELECT user_id, true FROM freed RETURNING user_id
"""


def retry(user_ids: Iterable[UUID] | None, *, actor_id: UUID | None = None) -> int:
    """Put those of the people (None: all) who are set aside on the queue, before others; how many they are. Whoever is refused again is set
    aside again. The audit log has an entry for each."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(RETRY, {"everybody": user_ids is None, "people": [str(user_id) for user_id in user_ids or ()]})
        queued = [user_id for (user_id,) in cursor.fetchall()]
        record_each(Action.RETRY, queued, actor_id=actor_id)
        cursor.execute("SELECT vector_sync_wake()")
    return len(queued)
