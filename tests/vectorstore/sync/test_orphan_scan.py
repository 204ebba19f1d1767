"""After a TRUNCATE nobody knows whom it took (protocol, rule 1)."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID, uuid4

import pytest
from qdrant_client import models

from accounts.models import User
from tests.factories import ProfileEmbeddingFactory, UserFactory, unit_vector
from tests.vectorstore.sync.people import a_point, ids, people, plain_sql, points, queued, write
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
def test_truncate__the_points_go(collection: str, table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orphan_scan, "PAGE_SIZE", 2)
    people(5)
    sync_once()
    assert len(points()) == 5
    plain_sql(f"TRUNCATE {table} CASCADE")
    synced = sync_once()
    assert (synced.removed, synced.remaining.length) == (5, 0)
    assert points() == set()


def test_truncate__a_secondary_collection_that_fails_is_marked_failed(embedded_collection: str) -> None:
    people(2)
    sync_once()
    registry.register("profile_embeddings_v2", VectorCollection.State.RETAINED, "")
    plain_sql("TRUNCATE users CASCADE")
    sync_once(timeout=5)
    assert points() == set()
    assert registry.write_targets() == ("profile_embeddings_v1",)


def test_truncate__whoever_came_afterwards_stays(embedded_collection: str) -> None:
    people(2)
    sync_once()
    plain_sql("TRUNCATE users CASCADE")
    there = people(2)
    sync_once()
    assert points() == ids(there)


def test_truncate__beside_a_worker_that_has_read_its_rows_before(embedded_collection: str) -> None:
    """It writes after the collection was compared, when nobody is on the queue for them any more."""
    people(1)
    slow = claim_due(uuid4(), 10)
    assert slow is not None
    read = points_of(slow)
    plain_sql("TRUNCATE users CASCADE")
    worker = uuid4()
    while QueueEntry.objects.filter(user_id=None).exists():
        work(worker, 10)
    _CollectionWriter(slow, slow.collections[0]).apply(read)
    finish(slow)
    assert len(points()) == 1
    sync_once()
    assert points() == set()


@pytest.mark.parametrize("table", ["users", "profile_embeddings"])
def test_truncate__nobody_who_is_gone_stays_quarantined(embedded_collection: str, table: str) -> None:
    (gone,) = people(1)
    QuarantinedUser.objects.create(user_id=gone, reason="", collection="")
    plain_sql(f"TRUNCATE {table} CASCADE")
    (there,) = people(1)
    QuarantinedUser.objects.create(user_id=there, reason="", collection="")
    QueueEntry.objects.exclude(user_id=None).delete()
    assert sync_once(timeout=5).remaining.quarantined == 1
    assert QuarantinedUser.objects.get().pk == there


def test_scan_for_orphans__who_is_to_have_no_point(embedded_collection: str) -> None:
    """A projectable user is left alone. A point whose id is no UUID belongs to no user: ``verify_qdrant`` handles it."""
    (there,) = people(1)
    staff, deleted = ProfileEmbeddingFactory.create(user__staff=True).pk, ProfileEmbeddingFactory.create(user__deleted=True).pk
    bare, nobody = UserFactory.create().pk, uuid4()
    User.objects.filter(pk=there).update(active=False)
    write(*[a_point(person) for person in (there, staff, deleted, bare, nobody)], models.PointStruct(id=7, vector=unit_vector(1)))
    QueueEntry.objects.all().delete()
    plain_sql("INSERT INTO vector_sync_queue (user_id, urgent) VALUES (NULL, true)")
    work(uuid4(), 10)
    assert set(QueueEntry.objects.values_list("user_id", "urgent")) == {(person, True) for person in (staff, deleted, bare, nobody)}
    sync_once()
    assert points() == {str(there), 7}
    assert queued() == 0


def test_scan_for_orphans__a_lease_that_runs_out_between_two_pages(embedded_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else looks through them all then."""
    monkeypatch.setattr(orphan_scan, "PAGE_SIZE", 2)
    write(*[a_point(uuid4()) for _ in range(5)])
    plain_sql("INSERT INTO vector_sync_queue (user_id, urgent) VALUES (NULL, true)")
    claim = claim_due(uuid4(), 10)
    assert claim is not None and claim.all_users

    def frozen_afterwards(people: Iterable[UUID], *, urgent: bool, cause: str) -> int:
        queued = enqueue(people, urgent=urgent, cause=cause)
        if queued:
            plain_sql("UPDATE vector_sync_leases SET expires_at = clock_timestamp()")
        return queued

    monkeypatch.setattr(orphan_scan, "enqueue", frozen_afterwards)
    with pytest.raises(LeaseLost):
        orphan_scan.scan_for_orphans(claim)
    assert QueueEntry.objects.exclude(user_id=None).count() == 2


def test_repair__the_point_of_the_id_that_stands_for_all_users(collection: str) -> None:
    """Nobody has it who has an embedding, no claim is of it as of a person, and both stores sort it before all others."""
    there = people(2)
    sync_once()
    write(a_point(ALL_USERS))
    found = verify(repairing=True)
    assert (found.differing, found.collections[0].examples) == (1, {"orphaned": [str(ALL_USERS)]})
    sync_once(timeout=5)
    assert points() == ids(there)
    assert queued() == 0
    assert verify().clean
