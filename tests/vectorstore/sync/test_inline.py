"""Synchronous sync, without a worker.

Commands use it after their commit, and callers use it to remove a user for good.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from django.db import DatabaseError, OperationalError, connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from pytest_django import Settings
from qdrant_client import QdrantClient, models

from accounts.models import User
from findme.core.errors import StoreUnavailable
from privacy.users import anonymized_email
from tests.factories import ProfileEmbeddingFactory, UserFactory, unit_vector
from tests.schema.rows import ask
from tests.support.payloads import payload_of
from tests.support.sessions import another_connection, is_user_locked
from tests.support.threads import in_thread
from tests.support.users import create_users
from tests.support.waiting import wait_until
from tests.vectorstore.sync.points import a_point, point, points, queued, write
from vectorstore.catalog import registry
from vectorstore.catalog.ownership import DATABASE, database_id
from vectorstore.catalog.secondary import MAX_CONSECUTIVE_TIMEOUTS
from vectorstore.models import ProfileEmbedding, QueueEntry, SyncLease, VectorCollection
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.qdrant.errors import CollectionNotFound
from vectorstore.queue.entries import LOCK_OF, enqueue
from vectorstore.sync import inline
from vectorstore.sync.claims import claim_due
from vectorstore.sync.inline import point_of, remove_point, remove_points, shared_connection, sync_users
from vectorstore.sync.leases import release
from vectorstore.sync.leftovers import collections_with_point, scan_for_users
from vectorstore.sync.results import BatchResult

State = VectorCollection.State

# --- Eligibility and payload -----------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_sync_users__writes_the_point_of_the_current_rows(any_collection: str) -> None:
    embedding = ProfileEmbeddingFactory.create(location={"lat": 48.8, "lon": 2}, interests=[], video_features=[0.1, 1e-9])
    assert sync_users([embedding.pk]) == BatchResult(written=1)
    stored = point(embedding.pk)
    embedding.refresh_from_db()
    assert stored["payload"] == payload_of(embedding.user, embedding) | {"version": stored["payload"]["version"]}
    assert np.allclose(stored["vector"], embedding.vector, atol=1e-6)
    assert queued() == 0
    assert not SyncLease.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("traits", "has_point"),
    [
        ({}, True),
        ({"inactive": True}, True),
        ({"unverified": True}, True),
        ({"staff": True}, False),
        ({"deleted": True}, False),
        ({"anonymized": True}, False),
    ],
    ids=str,
)
def test_sync_users__writes_a_point_only_for_projectable_users(embedded_collection: str, traits: dict[str, bool], has_point: bool) -> None:
    anonymized = traits.get("anonymized", False)
    user = UserFactory.create(**{} if anonymized else traits)
    ProfileEmbeddingFactory.create(user=user)
    if anonymized:  # by the guide's statement, which leaves the embedding
        User.objects.filter(pk=user.pk).update(email=anonymized_email(user.pk), deleted_at=datetime.now(UTC))
    assert sync_users([user.pk]) == BatchResult(written=int(has_point))
    assert (point_of(user.pk) is not None) is has_point


@pytest.mark.django_db
def test_sync_users__without_an_embedding__writes_no_point(embedded_collection: str) -> None:
    assert sync_users([UserFactory.create().pk, uuid4()]) == BatchResult()
    assert sync_users([]) == BatchResult()


@pytest.mark.django_db
@pytest.mark.parametrize(
    "remove",
    [
        lambda user: User.objects.filter(pk=user.pk).update(deleted_at=datetime.now(UTC)),
        lambda user: User.objects.filter(pk=user.pk).update(is_staff=True),
        lambda user: ProfileEmbedding.objects.filter(pk=user.pk).delete(),
        lambda user: User.objects.filter(pk=user.pk).delete(),
    ],
    ids=["deleted softly", "made staff", "embedding deleted", "deleted for good"],
)
def test_sync_users__user_no_longer_projectable__removes_the_point(collection: str, remove: Callable[[User], object]) -> None:
    user = ProfileEmbeddingFactory.create().user
    sync_users([user.pk])
    remove(user)
    assert sync_users([user.pk]) == BatchResult(removed=1)
    assert point_of(user.pk) is None
    assert sync_users([user.pk]) == BatchResult()


@pytest.mark.django_db
def test_sync_users__after_a_change_by_plain_sql__replaces_the_point(any_collection: str) -> None:
    user = ProfileEmbeddingFactory.create(video_features=[1.0]).user
    sync_users([user.pk])
    ask("UPDATE users SET active = false, gender = 'other' WHERE id = %s", user.pk)
    ask("UPDATE profile_embeddings SET video_features = NULL, location = NULL, vector = %s WHERE user_id = %s", unit_vector(77), user.pk)
    assert sync_users([user.pk]) == BatchResult(written=1)
    stored = point(user.pk)
    assert (stored["payload"]["active"], stored["payload"]["gender"]) == (False, "other")
    assert not {"location", "video_features"} & set(stored["payload"])
    assert np.allclose(stored["vector"], unit_vector(77), atol=1e-6)


@pytest.mark.django_db
@pytest.mark.parametrize("length", [1e-30, 1e30])
def test_sync_users__squares_that_do_not_fit_into_32_bits__writes_the_vector(any_collection: str, length: float) -> None:
    """Otherwise Qdrant takes such a vector as too short to have a direction, or as infinitely long."""
    embedding = ProfileEmbeddingFactory.create(vector=[number * length for number in unit_vector(5)])
    sync_users([embedding.pk])
    assert np.allclose(point(embedding.pk)["vector"], unit_vector(5), atol=1e-6)


@pytest.mark.django_db
def test_sync_users__many_users__works_in_batches(embedded_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inline, "BATCH_SIZE", 2)
    user_ids = create_users(5)
    assert sync_users(iter([*user_ids, user_ids[0], uuid4()])) == BatchResult(written=6)
    assert len(points()) == 5


@pytest.mark.django_db
def test_sync_users__leaves_other_users_queued(embedded_collection: str) -> None:
    first, other = create_users(2)
    assert sync_users([first]) == BatchResult(written=1)
    assert (queued(first), queued(other)) == (0, 1)


# --- Errors ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_sync_users__without_a_collection__fails_and_users_stay_queued(every_store: str) -> None:
    embedding = ProfileEmbeddingFactory.create()
    line = f"Qdrant has no collection {collection_name()!r}: make it with manage.py init_qdrant."
    for call in (lambda: sync_users([embedding.pk]), lambda: point_of(embedding.pk), lambda: remove_point(embedding.pk)):
        with pytest.raises(CollectionNotFound) as raised:
            call()
        assert str(raised.value) == line
    assert queued(embedding.pk) == 2


@pytest.mark.django_db
def test_sync_users__without_qdrant__fails_and_users_are_queued(settings: Settings) -> None:
    settings.QDRANT_URL = "http://no-such-host.invalid"
    user_id = uuid4()
    for call in (lambda: sync_users([user_id]), lambda: point_of(user_id), lambda: remove_point(user_id)):
        with pytest.raises(StoreUnavailable, match="contains the unknown host"):
            call()
    assert queued(user_id) == 1


@pytest.mark.django_db(transaction=True)
def test_sync_users__inside_a_transaction__fails(embedded_collection: str) -> None:
    with pytest.raises(RuntimeError, match="durable"), transaction.atomic():
        sync_users([uuid4()])


@pytest.mark.django_db
def test_sync_users__another_worker_holds_the_users__fails_after_the_wait(
    embedded_collection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inline, "WAIT_SECONDS", 0.2)
    (user_id,) = create_users(1)
    claim = claim_due(uuid4(), 1)
    assert claim is not None
    for call in (lambda: sync_users([user_id]), lambda: remove_point(user_id)):
        with pytest.raises(StoreUnavailable) as raised:
            call()
        assert str(raised.value) == (
            f"Another worker has been writing the points of these users for {inline.WAIT_SECONDS} seconds. Check which workers run, then run the command again."
        )
    release(claim, unanswered=False)
    assert sync_users([user_id]) == BatchResult(written=1)


# --- Removal for good ------------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_remove_point__returns_whether_there_was_a_point(any_collection: str) -> None:
    (user_id,) = create_users(1)
    sync_users([user_id])
    assert remove_point(user_id)
    assert point_of(user_id) is None
    assert not remove_point(user_id)


@pytest.mark.django_db
def test_remove_point__deletion_not_applied__fails(any_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (user_id,) = create_users(1)
    sync_users([user_id])
    monkeypatch.setattr(QdrantClient, "delete", lambda *_arguments, **_options: None)
    with pytest.raises(StoreUnavailable) as raised:
        remove_point(user_id)
    name = f"{collection_name()}_v1"
    assert str(raised.value) == (
        f"The point of {str(user_id)!r} is still in {name!r} after its deletion. Check Qdrant's log, then run the command again."
    )


@pytest.mark.django_db
@pytest.mark.parametrize("version", [2**53 + 2, [2**52]])
def test_remove_point__unbeatable_version__is_removed(any_collection: str, version: object) -> None:
    (user_id,) = create_users(1)
    write(a_point(user_id, version=version))
    assert remove_point(user_id)
    assert point_of(user_id) is None


@pytest.mark.django_db(transaction=True)
def test_remove_point__leased_user__waits_for_the_worker(server_collection: str) -> None:
    (user_id,) = create_users(1)
    claim = claim_due(uuid4(), 1)
    assert claim is not None
    started: list[bool] = []

    def remove() -> bool:
        with transaction.atomic():
            started.append(True)
            return remove_point(user_id)

    with in_thread(remove) as removal:
        wait_until(lambda: started and is_user_locked(user_id), "The removal has begun")
        assert not removal.done()
        release(claim, unanswered=False)
        assert removal.result(60) is False


@pytest.mark.django_db(transaction=True)
def test_remove_point__no_worker_claims_the_user_before_the_commit(server_collection: str) -> None:
    user_id, other = create_users(2)
    worker = uuid4()
    with transaction.atomic():
        User.objects.filter(pk=user_id).delete()
        remove_point(user_id)
        with in_thread(lambda: claim_due(worker, 10)) as pending_claim:
            claim = pending_claim.result(60)
        assert claim is not None and claim.users == {other}
    later = claim_due(worker, 10)
    assert later is not None and later.users == {user_id}


@pytest.mark.django_db
def test_remove_point__expired_lease__queues_a_recheck(server_collection: str) -> None:
    """Qdrant may still apply the dead worker's request, so the user is rechecked."""
    (user_id,) = create_users(1)
    assert claim_due(uuid4(), 1) is not None
    SyncLease.objects.update(expires_at=datetime(2020, 1, 1, tzinfo=UTC))
    remove_point(user_id)
    assert QueueEntry.objects.filter(user_id=user_id, awaits_ack=True).count() == 1


@pytest.mark.django_db
def test_remove_points__of_many_users__keeps_others(any_collection: str) -> None:
    *user_ids, without_point, other = create_users(5)
    sync_users([*user_ids, other])
    assert remove_points([*user_ids, without_point])
    assert [point_of(user_id) for user_id in user_ids] == [None] * 3
    assert point_of(other) is not None
    assert collections_with_point(*user_ids) == []
    assert collections_with_point(*user_ids, other) == [f"{collection_name()}_v1"]
    assert not remove_points(user_ids)


@pytest.mark.django_db
def test_remove_points__one_has_an_unbeatable_version__is_removed(any_collection: str) -> None:
    first, second = create_users(2)
    sync_users([first])
    write(a_point(second, version=2**53 + 2))
    assert remove_points([first, second])
    assert (point_of(first), point_of(second)) == (None, None)


@pytest.mark.django_db
def test_remove_points__deletion_not_applied__fails(any_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    user_ids = create_users(2)
    sync_users(user_ids)
    monkeypatch.setattr(QdrantClient, "delete", lambda *_arguments, **_options: None)
    with pytest.raises(StoreUnavailable, match=r"^A point of 2 users is still in '.*_v1' after its deletion\."):
        remove_points(user_ids)


@pytest.mark.django_db
def test_remove_points__expired_leases__queue_rechecks_for_their_users(server_collection: str) -> None:
    first, second = create_users(2)
    assert claim_due(uuid4(), 1) is not None
    SyncLease.objects.update(expires_at=datetime(2020, 1, 1, tzinfo=UTC))
    remove_points([first, second])
    assert QueueEntry.objects.filter(awaits_ack=True).count() == 1


@pytest.mark.django_db
def test_remove_point__removes_from_every_write_target(collection: str) -> None:
    (user_id,) = create_users(1)
    secondary = f"{collection_name()}_v2"
    with qdrant() as client:
        client.create_collection(secondary, vectors_config=models.VectorParams(size=512, distance=models.Distance.COSINE))
    registry.register(secondary, State.RETAINED, "")
    assert sync_users([user_id]) == BatchResult(written=1)
    assert points(secondary) == {str(user_id)}
    assert remove_point(user_id)
    assert points(secondary) == points() == set()


@pytest.mark.django_db
def test_remove_point__failing_secondary_collection__is_marked_failed(collection: str) -> None:
    (user_id,) = create_users(1)
    sync_users([user_id])
    registry.register(f"{collection_name()}_v2", State.BUILDING, "")
    assert remove_point(user_id)
    failed = VectorCollection.objects.get(pk=f"{collection_name()}_v2")
    assert (failed.state, failed.failure_reason) == (
        State.FAILED,
        f"Qdrant has no collection '{collection_name()}_v2': make it with manage.py init_qdrant.",
    )


@pytest.mark.django_db
@pytest.mark.parametrize("hidden", [False, True], ids=["found by id", "found by search only"])
def test_remove_point__secondary_that_confirms_and_keeps_the_point__is_marked_failed(
    embedded_collection: str, monkeypatch: pytest.MonkeyPatch, *, hidden: bool
) -> None:
    """It blocks some removals, since the server may have become unavailable just then, and never all of them."""
    (user_id,) = create_users(1)
    secondary = f"{collection_name()}_v2"
    with qdrant() as client:
        vectors = models.VectorParams(size=512, distance=models.Distance.COSINE)
        client.create_collection(secondary, vectors_config=vectors, metadata={DATABASE: database_id()})
    registry.register(secondary, State.RETAINED, "")
    sync_users([user_id])
    answers: dict[str, object] = {"delete": None, "retrieve": []} if hidden else {"delete": None}
    for name, answer in answers.items():
        monkeypatch.setattr(QdrantClient, name, of_others(getattr(QdrantClient, name), secondary, answer))
    for _ in range(MAX_CONSECUTIVE_TIMEOUTS - 1):
        with pytest.raises(StoreUnavailable, match=rf"is still in '{secondary}' after its deletion"):
            remove_point(user_id)
    remove_point(user_id)
    assert VectorCollection.objects.get(pk=secondary).state == State.FAILED
    assert scan_for_users([user_id]) == {user_id}


def of_others(method: Callable[..., Any], secondary: str, answer: object) -> Callable[..., Any]:
    """Return the method with another answer for one collection."""

    def call(client: QdrantClient, collection: str, *arguments: Any, **options: Any) -> Any:
        return answer if collection == secondary else method(client, collection, *arguments, **options)

    return call


@pytest.mark.django_db(transaction=True)
def test_remove_point__keeps_the_timeouts_of_the_caller(embedded_collection: str) -> None:
    with another_connection() as other, transaction.atomic():
        user_id = uuid4()
        with other.cursor() as cursor, connection.cursor() as own_cursor:
            cursor.execute(f"SELECT pg_advisory_lock({LOCK_OF}) FROM (SELECT %s::uuid AS person) asked", [user_id])
            own_cursor.execute("SET LOCAL lock_timeout = '50ms'")
        with pytest.raises(StoreUnavailable, match="Another worker has been writing"), transaction.atomic():
            remove_point(user_id)
        with connection.cursor() as own_cursor:
            own_cursor.execute("SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = '50ms'")
        with pytest.raises(OperationalError, match="statement timeout"), transaction.atomic():
            remove_point(user_id)


@pytest.mark.django_db(transaction=True)
def test_remove_point__locked_queue__ends_with_the_timeout_of_the_caller(embedded_collection: str) -> None:
    """The queue entry is inserted over another connection, which would wait as long as the table is locked."""
    with another_connection() as other, other.cursor() as cursor:
        cursor.execute("BEGIN; LOCK vector_sync_queue IN ACCESS EXCLUSIVE MODE")
        with transaction.atomic(), connection.cursor() as own_cursor:
            own_cursor.execute("SET LOCAL lock_timeout = '50ms'")
            with pytest.raises(StoreUnavailable, match=r"has locked the table 'vector_sync_queue': nothing was sent"):
                remove_point(uuid4())


def test_enqueue__inserts_one_entry_per_user(db: Any) -> None:
    user_id = uuid4()
    assert (enqueue([user_id, user_id]), enqueue([])) == (1, 0)
    assert queued() == 1


@pytest.mark.django_db(transaction=True)
def test_remove_points__several_removals__share_one_connection(embedded_collection: str) -> None:
    """After an error, the next removal opens it again."""
    opened: list[BaseDatabaseWrapper] = []

    def note(connection: BaseDatabaseWrapper, **_signal: object) -> None:
        opened.append(connection)

    def remove() -> None:
        with transaction.atomic():
            remove_points([uuid4(), uuid4()])

    connection_created.connect(note)
    try:
        with shared_connection():
            for _ in range(3):
                remove()
            assert len(opened) == 1
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [opened[0].connection.info.backend_pid])
            with pytest.raises(DatabaseError):
                remove()
            remove()
            assert len(opened) == 2
        assert opened[-1].connection is None
    finally:
        connection_created.disconnect(note)
