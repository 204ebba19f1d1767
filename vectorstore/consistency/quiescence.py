"""Quiescent users: no process changes, writes or deletes them, so their point must match their rows.

A transaction that changes a user also queues the user. The queue entries and the lease are deleted after the point was written and read back. A
transaction that deletes a point for good holds the user's advisory lock until its commit. So if a user is quiescent, with the same rows before and
after a request to Qdrant, the point must match these rows. Otherwise something is wrong.
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
"""The ids of the transactions that wrote the user's rows in ``users`` and ``profile_embeddings``, None without a row."""

LOCKED = f"SELECT person FROM unnest(%s::uuid[]) AS person WHERE pg_try_advisory_xact_lock_shared({LOCK_OF})"  # noqa: S608  # a constant

QUIESCENT = """
    SELECT person, users.xmin::text, profile_embeddings.xmin::text
    FROM unnest(%(user_ids)s::uuid[]) AS person
    LEFT JOIN users ON users.id = person LEFT JOIN profile_embeddings ON profile_embeddings.user_id = person
    WHERE NOT EXISTS (SELECT FROM vector_sync_queue WHERE user_id = person)
      AND NOT EXISTS (SELECT FROM vector_sync_leases WHERE user_id = person)
      AND NOT EXISTS (SELECT FROM vector_sync_queue WHERE user_id IS NULL)
      AND NOT EXISTS (SELECT FROM vector_sync_leases WHERE user_id = %(all_users)s)
"""


def quiescent_users(user_ids: Collection[UUID]) -> dict[UUID, Rows]:
    """Return the quiescent users among ``user_ids``, with the ids of the transactions that wrote their rows.

    Pass at most a thousand ids, because each takes a lock for a moment. The locks come first. The next statement then sees the commits of their
    last holders. The rollback releases the locks, also inside a caller's transaction, which keeps its own timeouts and blocks no other process.
    """
    with short_transaction() as cursor:
        cursor.execute(LOCKED, [uuid_array(user_ids)])
        unlocked = uuid_array(row[0] for row in cursor.fetchall())
        cursor.execute(QUIESCENT, {"user_ids": unlocked, "all_users": ALL_USERS})
        found = {user_id: (user, embedding) for user_id, user, embedding in cursor.fetchall()}
        transaction.set_rollback(True)
        return found
