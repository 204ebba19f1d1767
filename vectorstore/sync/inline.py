"""Sync users, or read or delete one user's point, in the calling process and without a worker.

Commands and the admin sync users after their commit. An erasure deletes a point before its commit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import islice
from typing import Any
from uuid import UUID, uuid4

import numpy as np
from django.db import OperationalError, connection
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg.errors import LockNotAvailable
from qdrant_client import QdrantClient
from qdrant_client.models import ExtendedPointId, Filter, HasIdCondition

from findme.core.errors import StoreUnavailable
from findme.core.postgresql.arrays import uuid_array
from findme.core.waiting import Deadline
from vectorstore.catalog import registry
from vectorstore.catalog.alias import live_collection
from vectorstore.catalog.secondary import fail_secondary_on_error
from vectorstore.consistency import deletions, preflight
from vectorstore.consistency.versions import allocate_version, has_unbeatable_version
from vectorstore.qdrant import write
from vectorstore.qdrant.connection import collection_name, is_embedded, qdrant
from vectorstore.qdrant.errors import CollectionNotFound, RestoreDetected
from vectorstore.qdrant.scroll import points_among
from vectorstore.queue.entries import LOCK_OF, enqueue
from vectorstore.sync.batch import BATCH_SIZE, work
from vectorstore.sync.claims import DUE
from vectorstore.sync.leftovers import is_found_by_search
from vectorstore.sync.rechecks import enqueue_rechecks
from vectorstore.sync.results import BatchResult

WAIT_SECONDS = 30
"""How long to wait for workers that write the same users. They finish several batches in this time."""

_shared: ContextVar[BaseDatabaseWrapper | None] = ContextVar("shared_connection", default=None)


def sync_users(user_ids: Iterable[UUID]) -> BatchResult:
    """Write or delete the points of these users from their current rows. Call it after the commit that changed them.

    Raises StoreUnavailable (CollectionNotFound before ``init_qdrant``), and UserFacingError for a collection of another database.
    Users that are not done then stay on the queue for the next ``sync_qdrant``. Work of other workers is not counted.
    """
    result = BatchResult()
    worker = uuid4()
    users = iter(user_ids)
    while batch := sorted(set(islice(users, BATCH_SIZE))):
        enqueue(batch, urgent=True)
        result += _sync_batch(worker, batch)
    if result.removed:
        deletions.note_new_deletion()
    return result


def _sync_batch(worker: UUID, batch: list[UUID]) -> BatchResult:
    result = BatchResult()
    deadline = Deadline(WAIT_SECONDS)
    while _are_due(batch):
        batch_result = work(worker, len(batch), among=batch)
        if batch_result is not None:
            result += batch_result
        elif deadline.is_over():
            raise _held_by_others()
        else:
            deadline.pause()
    return result


def _are_due(batch: list[UUID]) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT EXISTS (SELECT FROM vector_sync_queue WHERE user_id = ANY(%s::uuid[]) AND {DUE})",  # noqa: S608  # a constant
            [uuid_array(batch)],
        )
        return bool(cursor.fetchone()[0])


def point_of(user_id: UUID) -> dict[str, Any] | None:
    """Return the user's point as it is in Qdrant, or None if there is none.

    ``payload``, and ``vector`` (length 1), which is None if it has not 512 numbers or one is NaN. Raises StoreUnavailable.
    """
    with qdrant() as client:
        found = points_among(live_collection(client), [user_id])
    if not found.ids:
        return None
    (vector,) = found.vectors
    return {"payload": found.payloads[0], "vector": vector.tolist() if np.isfinite(vector).all() else None}


def remove_point(user_id: UUID) -> bool:
    """Delete the user's point in all collections, inside the caller's transaction. Return whether there was one.

    No worker writes the point again until that transaction ends. Afterwards the user is synced: if the transaction did not commit,
    the point is written again. Also works after a restore, when nothing else is written: the operator repeats the erasures that
    are later than the backup. Raises StoreUnavailable, also if the point is still found by its id, and UserFacingError for a collection of another database.
    """
    return remove_points([user_id])


def remove_points(user_ids: Sequence[UUID]) -> bool:
    """Delete the points of several users as ``remove_point`` does. Return whether there was any."""
    with qdrant() as client:
        restored = _is_restored(client)
        _lock_users(user_ids)
        collections, copies = registry.targets()
        if not collections:
            raise CollectionNotFound(collection_name())
        before_deletion = _queue_apart(user_ids, restored=restored)
        version = None if restored else allocate_version()
        live, *others = (*collections, *copies)
        removed = _remove(client, live, user_ids, version)
        for collection in others:
            removed |= _remove_from_secondary(collection, user_ids, version)
        if before_deletion is not None:
            deletions.note_deletion(client, before_deletion)
        return removed


def _is_restored(client: QdrantClient) -> bool:
    """Return whether a store is an older copy of itself. No version is allocated then, since that would hide the restore.

    The sequence of a restored PostgreSQL is too low, and this is how the restore is detected. Raises UserFacingError if the collection
    belongs to another database.
    """
    try:
        preflight.check_stores(client)
    except RestoreDetected:
        return True
    return False


def _remove_from_secondary(collection: str, user_ids: Sequence[UUID], version: int | None) -> bool:
    """Remove the points from a secondary collection. If the collection answers with an error, mark it as failed, as workers do.

    The deletion is read back by search here too, so that a collection that confirms deletions and does not make them is marked as failed. The callers of
    ``remove_points`` read back every collection, also the live one (``leftovers.collections_with_point``).
    """
    with fail_secondary_on_error(collection), qdrant() as client:
        removed = _remove(client, collection, user_ids, version)
        if is_found_by_search(client, collection, user_ids):
            raise _still_there(collection, user_ids)
        if removed:
            return True
    return False


def _lock_users(user_ids: Sequence[UUID]) -> None:
    """Take the users' advisory locks until the transaction ends, then wait for the current leases to end.

    If a lease expired, Qdrant may still apply the worker's last request. A recheck is then enqueued in the caller's transaction.
    """
    with _translate_lock_timeout(_held_by_others), connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true) WHERE current_setting('lock_timeout') = '0'", [f"{WAIT_SECONDS}s"])
        cursor.execute(
            f"SELECT pg_advisory_xact_lock({LOCK_OF}) FROM (SELECT person FROM unnest(%s::uuid[]) AS person ORDER BY person) asked",  # noqa: S608  # a constant
            [uuid_array(user_ids)],
        )
        for _ in Deadline(WAIT_SECONDS).polls():
            leases = _leases_of(user_ids)
            if not any(leases.values()):
                if leases:
                    enqueue_rechecks(cursor, sorted(leases))
                return
        raise _held_by_others()


def _queue_apart(user_ids: Sequence[UUID], *, restored: bool) -> int | None:
    """Enqueue the users over a separate connection, committed before anything is sent. No worker can claim them yet.

    It waits for locks as long as the caller's transaction does. Return a version that is allocated there, for ``deletions.note_deletion``, or None after
    a restore.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('lock_timeout')")
        (lock_timeout,) = cursor.fetchone()
    with _connection_apart() as apart, _translate_lock_timeout(_queue_locked), apart.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, false)", [lock_timeout])
        cursor.execute("INSERT INTO vector_sync_queue (user_id, urgent) SELECT unnest(%s::uuid[]), true", [uuid_array(user_ids)])
        if restored:
            return None
        cursor.execute(deletions.ALLOCATE_FOR_DELETION)
        return int(cursor.fetchone()[0])


@contextmanager
def shared_connection() -> Iterator[None]:
    """Let all removals of the block, in this thread, use one separate connection. A removal without it opens a new one."""
    if _shared.get() is not None:
        yield
        return
    apart = connection.copy()
    token = _shared.set(apart)
    try:
        yield
    finally:
        _shared.reset(token)
        apart.close()


@contextmanager
def _connection_apart() -> Iterator[BaseDatabaseWrapper]:
    """Yield a separate connection. After an error, also a shared one is closed, and the next removal opens it again."""
    shared = _shared.get()
    apart = connection.copy() if shared is None else shared
    try:
        yield apart
    except BaseException:
        apart.close()
        raise
    if shared is None:
        apart.close()


def _leases_of(user_ids: Sequence[UUID]) -> dict[UUID, bool]:
    """Return whether the lease is still valid, for each user with a lease."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT user_id, expires_at > clock_timestamp() FROM vector_sync_leases WHERE user_id = ANY(%s::uuid[])", [uuid_array(user_ids)]
        )
        return dict(cursor.fetchall())


def _remove(client: QdrantClient, collection: str, user_ids: Sequence[UUID], version: int | None) -> bool:
    """Delete the points and return whether any was there. An absent point is deleted too, since an upsert may still be pending.

    The deletion is read back by id here, because a point with an unbeatable version needs a second deletion.

    Without ``version`` the points are deleted whatever their version is: a restored PostgreSQL may be unable to allocate a higher one.
    """
    ids: list[ExtendedPointId] = [str(user_id) for user_id in user_ids]
    found = _has_any(client, collection, ids)
    if found:
        deletions.note_deletion_time()
    if version is None:
        write.clear(client, collection, ids)
    else:
        write.delete(client, collection, ids, version)
    left = write.versions_of(client, collection, ids)
    if unbeatable := [record.id for record in left if has_unbeatable_version(record.payload)]:
        write.clear(client, collection, unbeatable)
        left = client.retrieve(collection, ids, with_payload=False, with_vectors=False)
    if left:
        raise _still_there(collection, user_ids)
    return found


def _has_any(client: QdrantClient, collection: str, ids: list[ExtendedPointId]) -> bool:
    """Return whether one of the points exists. One of many is enough: to read all of them takes longer than to delete them."""
    if len(ids) == 1 or is_embedded():
        return bool(client.retrieve(collection, ids, with_payload=False, with_vectors=False))
    among = Filter(must=[HasIdCondition(has_id=ids)])
    return bool(client.scroll(collection, scroll_filter=among, limit=1, with_payload=False, with_vectors=False)[0])


def _still_there(collection: str, user_ids: Sequence[UUID]) -> StoreUnavailable:
    subject = f"The point of {str(user_ids[0])!r}" if len(user_ids) == 1 else f"A point of {len(user_ids)} users"
    return StoreUnavailable(f"{subject} is still in {collection!r} after its deletion. Check Qdrant's log, then run the command again.")


@contextmanager
def _translate_lock_timeout(to_error: Callable[[], StoreUnavailable]) -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        if isinstance(error.__cause__, LockNotAvailable):
            raise to_error() from error
        raise


def _queue_locked() -> StoreUnavailable:
    return StoreUnavailable("Another session has locked the table 'vector_sync_queue': nothing was sent to Qdrant. Run the command again.")


def _held_by_others() -> StoreUnavailable:
    return StoreUnavailable(
        f"Another worker has been writing the points of these users for {WAIT_SECONDS} seconds. Check which workers run, then run the command again."
    )
