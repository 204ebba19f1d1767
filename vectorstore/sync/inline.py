"""The same machinery for people who are waited for: after the commit of a command or of the admin, and before a person is removed for good."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from uuid import UUID, uuid4

from django.db import OperationalError, connection
from psycopg.errors import LockNotAvailable
from qdrant_client import QdrantClient
from qdrant_client.models import ExtendedPointId

from findme.core.errors import StoreUnavailable, UserFacingError
from findme.core.postgresql.arrays import uuid_array
from findme.core.waiting import Deadline
from vectorstore.catalog import registry
from vectorstore.catalog.secondary import fail_secondary_on_error
from vectorstore.consistency import deletions, preflight
from vectorstore.consistency.versions import allocate_version, has_unbeatable_version
from vectorstore.qdrant import write
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.qdrant.errors import CollectionNotFound, RestoreDetected
from vectorstore.queue.deletions import note_removal
from vectorstore.queue.entries import LOCK_OF, enqueue
from vectorstore.sync.batch import BATCH_SIZE, work
from vectorstore.sync.claims import DUE, enqueue_rechecks
from vectorstore.sync.results import BatchResult

WAIT_SECONDS = 30
"""How long to wait for others who write the same people: several batches of theirs."""


def sync_users(user_ids: Iterable[UUID]) -> BatchResult:
    """Write or delete the points of these people, from their current rows, batch by batch. Call it after the commit that changed them.

    Raises StoreUnavailable (CollectionNotFound where ``init_qdrant`` has not been run), and UserFacingError for a collection of another
    database: who is not done stays on the queue, for the next ``sync_qdrant``. What another worker did of it is not counted.
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


def remove_point(user_id: UUID) -> bool:
    """Delete the person's point everywhere, inside the caller's transaction, until whose end nobody writes it again; whether there was one.

    Whatever becomes of that transaction, the person is looked at after it: where it ends without its commit, they get their point back.
    Also after a restore, when nothing else is written: an operator erases again who had been erased after the backup.
    Raises StoreUnavailable, or UserFacingError if the point is still there.
    """
    with qdrant() as client:
        restored = _is_restored(client)
        _lock_user(user_id)
        collections = registry.write_targets()
        if not collections:
            raise CollectionNotFound(collection_name())
        before_deletion = _queue_apart(user_id, restored=restored)
        version = None if restored else allocate_version()
        live, *others = collections
        removed = _remove(client, live, user_id, version)
        for collection in others:
            removed |= _remove_from_secondary(collection, user_id, version)
        if before_deletion is not None:
            deletions.note_deletion(client, before_deletion)
        return removed


def _is_restored(client: QdrantClient) -> bool:
    """Return whether a store is an older copy of itself. Then no version is allocated: that PostgreSQL has allocated too few is what shows it.

    Raises UserFacingError where the collection is another database's.
    """
    try:
        preflight.check_stores(client)
    except RestoreDetected:
        return True
    return False


def _remove_from_secondary(collection: str, user_id: UUID, version: int | None) -> bool:
    """A secondary collection that answers with an error is marked as failed, as workers do."""
    with fail_secondary_on_error(collection), qdrant() as client:
        if _remove(client, collection, user_id, version):
            return True
    return False


def _lock_user(user_id: UUID) -> None:
    """Hold the person's advisory lock, so that nobody claims them, until the transaction ends; and wait for whoever has claimed them.

    Where that one's lease ran out, what it sent may still arrive: a recheck is queued, with the caller's transaction.
    """
    with _translate_lock_timeout(), connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true) WHERE current_setting('lock_timeout') = '0'", [f"{WAIT_SECONDS}s"])
        cursor.execute(f"SELECT pg_advisory_xact_lock({LOCK_OF}) FROM (SELECT %s::uuid AS person) asked", [user_id])  # noqa: S608  # a constant
        for _ in Deadline(WAIT_SECONDS).polls():
            lease = _lease_of(user_id)
            if lease is None:
                return
            if not lease:
                enqueue_rechecks(cursor, [user_id])
                return
        raise _held_by_others()


def _queue_apart(user_id: UUID, *, restored: bool) -> int | None:
    """Queue the person over a connection of its own, committed before anything is sent. Nobody can claim them yet.

    Return a version that is allocated there, for ``deletions.note_deletion``; None after a restore.
    """
    apart = connection.copy()
    try:
        with apart.cursor() as cursor:
            cursor.execute("INSERT INTO vector_sync_queue (user_id, urgent) VALUES (%s, true)", [user_id])
            if restored:
                return None
            cursor.execute(deletions.ALLOCATE_FOR_DELETION)
            return int(cursor.fetchone()[0])
    finally:
        apart.close()


def _lease_of(user_id: UUID) -> bool | None:
    """Whether the person's lease still holds; None where there is none."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT expires_at > clock_timestamp() FROM vector_sync_leases WHERE user_id = %s", [user_id])
        row = cursor.fetchone()
        return bool(row[0]) if row else None


def _remove(client: QdrantClient, collection: str, user_id: UUID, version: int | None) -> bool:
    """Also what does not seem to be there: an upsert may still wait to be applied, and the deletion comes after it.

    Without a version, whatever version the point has: it may be higher than a restored PostgreSQL can allocate.
    """
    ids: list[ExtendedPointId] = [str(user_id)]
    found = client.retrieve(collection, ids, with_payload=False, with_vectors=False)
    if found:
        note_removal()
    if version is None:
        write.clear(client, collection, ids)
    else:
        write.delete(client, collection, ids, version)
    left = client.retrieve(collection, ids, with_payload=["version"], with_vectors=False)
    if left and has_unbeatable_version(left[0].payload):
        write.clear(client, collection, ids)
        left = client.retrieve(collection, ids, with_payload=False, with_vectors=False)
    if left:
        raise UserFacingError(
            f"The point of {str(user_id)!r} is still in {collection!r} after its deletion: look at Qdrant's log, and run it again."
        )
    return bool(found)


@contextmanager
def _translate_lock_timeout() -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        if isinstance(error.__cause__, LockNotAvailable):
            raise _held_by_others() from error
        raise


def _held_by_others() -> StoreUnavailable:
    return StoreUnavailable(
        "Somebody else is writing the points of the same people, and has not been done in time: see what runs, and run it again."
    )
