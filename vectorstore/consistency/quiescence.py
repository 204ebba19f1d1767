"""Which users are quiescent: nobody is changing, writing or removing them, so that their point must be what their row makes.

Whoever changes a person queues them in the same transaction; entries of the queue and leases go when the point is written and read back; whoever
removes a point for good holds the person's advisory lock until the commit. So a person who is quiescent, and whose rows were the same ones
before and after Qdrant was asked, had the point of these rows meanwhile, or something is wrong.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeAlias
from uuid import UUID

from django.db import transaction

from findme.core.postgresql.arrays import uuid_array
from vectorstore.queue.entries import ALL_USERS, LOCK_OF
from vectorstore.queue.transactions import short_transaction

Rows: TypeAlias = tuple[str | None, str | None]
"""The transactions that wrote the person's row in ``users`` and in ``profile_embeddings``; None where there is no row."""

LOCKED = f"SELECT person FROM unnest(%s::uuid[]) AS person WHERE pg_try_advisory_xact_lock_shared({LOCK_OF})"  # noqa: S608  # a constant

QUIESCENT = """
    SELECT person, users.xmin::text, profile_embeddings.xmin::text
    FROM unnest(%(people)s::uuid[]) AS person
    LEFT JOIN users ON users.id = person LEFT JOIN profile_embeddings ON profile_embeddings.user_id = person
    WHERE NOT EXISTS (SELECT FROM vector_sync_queue WHERE user_id = person)
      AND NOT EXISTS (SELECT FROM vector_sync_leases WHERE user_id = person)
      AND NOT EXISTS (SELECT FROM vector_sync_queue WHERE user_id IS NULL)
      AND NOT EXISTS (SELECT FROM vector_sync_leases WHERE user_id = %(all_users)s)
"""


def quiescent_users(people: Collection[UUID]) -> dict[UUID, Rows]:
    """Those of PEOPLE (a thousand at most, since each takes a lock for a moment) who are quiescent, with what tells their rows from later ones.

    First the locks, then a statement that sees what their last holders have committed. Both end without a trace, in a caller's transaction too: that
    one waits for others as long as it did before, and holds nobody up for who was asked about.
    """
    with short_transaction() as cursor:
        cursor.execute(LOCKED, [uuid_array(people)])
        free = uuid_array(row[0] for row in cursor.fetchall())
        cursor.execute(QUIESCENT, {"people": free, "all_users": ALL_USERS})
        found = {person: (user, embedding) for person, user, embedding in cursor.fetchall()}
        transaction.set_rollback(True)
        return found
