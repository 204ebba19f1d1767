"""The orphan scan after a TRUNCATE (protocol rule 1).

The removed users are unknown, so a worker searches the collections for orphans.
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID, uuid4

import pytest
from qdrant_client import models

from accounts.models import User
from tests.factories import ProfileEmbeddingFactory, UserFactory, unit_vector
from tests.schema.rows import ask
from tests.support.users import create_users
from tests.vectorstore.sync.points import a_point, ids, points, queued, write
from vectorstore.catalog import registry
from vectorstore.models import QuarantinedUser, QueueEntry, VectorCollection
from vectorstore.projection.points import points_of
from vectorstore.queue.entries import ALL_USERS, enqueue
from vectorstore.sync import orphan_scan
from vectorstore.sync.batch import work
from vectorstore.sync.claims import claim_due
from vectorstore.sync.leases import LeaseLost, finish
from vectorstore.sync.worker import sync_once
from vectorstore.sync.writer import _CollectionWriter
from vectorstore.verification.verify import verify

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("table", ["users", "profile_embeddings"])
def test_truncate__removes_all_points(collection: str, table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orphan_scan, "PAGE_SIZE", 2)
    create_users(5)
    sync_once()
    assert len(points()) == 5
    ask(f"TRUNCATE {table} CASCADE")
    synced = sync_once()
    assert (synced.removed, synced.remaining.length) == (5, 0)
    assert points() == set()


def test_truncate__failing_secondary_collection__is_marked_failed(embedded_collection: str) -> None:
    create_users(2)
    sync_once()
    registry.register("profile_embeddings_v2", VectorCollection.State.RETAINED, "")
    ask("TRUNCATE users CASCADE")
    sync_once(timeout=60)
    assert points() == set()
    assert registry.write_targets() == ("profile_embeddings_v1",)


def test_truncate__users_added_afterwards__keep_their_points(embedded_collection: str) -> None:
    create_users(2)
    sync_once()
    ask("TRUNCATE users CASCADE")
    user_ids = create_users(2)
    sync_once()
    assert points() == ids(user_ids)


def test_truncate__worker_that_read_its_rows_before__its_points_are_removed_too(embedded_collection: str) -> None:
    """The worker writes after the orphan scan, when the queue has no entry for its users."""
    create_users(1)
    slow = claim_due(uuid4(), 10)
    assert slow is not None
    read = points_of(slow)
    ask("TRUNCATE users CASCADE")
    worker = uuid4()
    while QueueEntry.objects.filter(user_id=None).exists():
        work(worker, 10)
    _CollectionWriter(slow, slow.collections[0]).apply(read)
    finish(slow)
    assert len(points()) == 1
    sync_once()
    assert points() == set()


@pytest.mark.parametrize("table", ["users", "profile_embeddings"])
def test_truncate__ends_the_quarantine_of_removed_users(embedded_collection: str, table: str) -> None:
    (gone,) = create_users(1)
    QuarantinedUser.objects.create(user_id=gone, reason="", collection="")
    ask(f"TRUNCATE {table} CASCADE")
    (present,) = create_users(1)
    QuarantinedUser.objects.create(user_id=present, reason="", collection="")
    QueueEntry.objects.exclude(user_id=None).delete()
    assert sync_once(timeout=60).remaining.quarantined == 1
    assert QuarantinedUser.objects.get().pk == present


def test_scan_for_orphans__queues_every_point_without_a_projectable_user(embedded_collection: str) -> None:
    """A projectable user is left alone.

    A point whose id is no UUID belongs to no user: ``verify_qdrant`` handles it.
    """
    (projectable,) = create_users(1)
    staff, deleted = ProfileEmbeddingFactory.create(user__staff=True).pk, ProfileEmbeddingFactory.create(user__deleted=True).pk
    bare, unknown_id = UserFactory.create().pk, uuid4()
    User.objects.filter(pk=projectable).update(active=False)
    write(
        *[a_point(user_id) for user_id in (projectable, staff, deleted, bare, unknown_id)], models.PointStruct(id=7, vector=unit_vector(1))
    )
    QueueEntry.objects.all().delete()
    ask("INSERT INTO vector_sync_queue (user_id, urgent) VALUES (NULL, true)")
    work(uuid4(), 10)
    assert set(QueueEntry.objects.values_list("user_id", "urgent")) == {(user_id, True) for user_id in (staff, deleted, bare, unknown_id)}
    sync_once()
    assert points() == {str(projectable), 7}
    assert queued() == 0


def test_scan_for_orphans__lease_expires_between_two_pages__stops(embedded_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another worker then scans all points."""
    monkeypatch.setattr(orphan_scan, "PAGE_SIZE", 2)
    write(*[a_point(uuid4()) for _ in range(5)])
    ask("INSERT INTO vector_sync_queue (user_id, urgent) VALUES (NULL, true)")
    claim = claim_due(uuid4(), 10)
    assert claim is not None and claim.all_users

    def enqueue_and_expire_lease(user_ids: Iterable[UUID], *, urgent: bool, cause: str) -> int:
        count = enqueue(user_ids, urgent=urgent, cause=cause)
        if count:
            ask("UPDATE vector_sync_leases SET expires_at = clock_timestamp()")
        return count

    monkeypatch.setattr(orphan_scan, "enqueue", enqueue_and_expire_lease)
    with pytest.raises(LeaseLost):
        orphan_scan.scan_for_orphans(claim)
    assert QueueEntry.objects.exclude(user_id=None).count() == 2


def test_repair__point_with_the_id_of_all_users__is_removed(collection: str) -> None:
    """No user with an embedding has this id, and no claim treats it as a user.

    Both stores sort it before all other ids.
    """
    user_ids = create_users(2)
    sync_once()
    write(a_point(ALL_USERS))
    drift = verify(repairing=True)
    assert (drift.differing, drift.collections[0].examples) == (1, {"orphaned": [str(ALL_USERS)]})
    sync_once(timeout=60)
    assert points() == ids(user_ids)
    assert queued() == 0
    assert verify().clean
