"""People who are waited for: the commands after their commit, and whoever removes a person for good."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from django.db import OperationalError, connection, transaction
from pytest_django import Settings
from qdrant_client import QdrantClient, models

from accounts.models import User
from findme.core.errors import StoreUnavailable, UserFacingError
from privacy.users import anonymized_email
from tests.factories import ProfileEmbeddingFactory, UserFactory, unit_vector
from tests.privacy.elsewhere import another_connection, in_a_thread
from tests.support.waiting import wait_until
from tests.vectorstore.payloads import payload_of
from tests.vectorstore.sync.people import a_point, people, plain_sql, point, points, queued, write
from vectorstore.catalog import registry
from vectorstore.models import ProfileEmbedding, QueueEntry, SyncLease, VectorCollection
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.qdrant.errors import CollectionNotFound
from vectorstore.queue.entries import LOCK_OF, enqueue
from vectorstore.sync import inline
from vectorstore.sync.claims import claim_due
from vectorstore.sync.inline import remove_point, sync_users
from vectorstore.sync.leases import release
from vectorstore.sync.removal import point_of
from vectorstore.sync.results import BatchResult

State = VectorCollection.State

# --- Who has a point -------------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_project__writes_the_point_as_the_rows_are(any_collection: str) -> None:
    embedding = ProfileEmbeddingFactory.create(location={"lat": 48.8, "lon": 2}, interests=[], video_features=[0.1, 1e-9])
    assert sync_users([embedding.pk]) == BatchResult(written=1)
    found = point(embedding.pk)
    embedding.refresh_from_db()
    assert found["payload"] == payload_of(embedding.user, embedding) | {"version": found["payload"]["version"]}
    assert np.allclose(found["vector"], embedding.vector, atol=1e-6)
    assert queued() == 0
    assert not SyncLease.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("person", "has_point"),
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
def test_project__who_has_a_point(embedded_collection: str, person: dict[str, bool], has_point: bool) -> None:
    anonymized = person.get("anonymized", False)
    user = UserFactory.create(**{} if anonymized else person)
    ProfileEmbeddingFactory.create(user=user)
    if anonymized:  # by the guide's statement, which leaves the embedding
        User.objects.filter(pk=user.pk).update(email=anonymized_email(user.pk), deleted_at=datetime.now(UTC))
    assert sync_users([user.pk]) == BatchResult(written=int(has_point))
    assert (point_of(user.pk) is not None) is has_point


@pytest.mark.django_db
def test_project__nobody_without_an_embedding_has_a_point(embedded_collection: str) -> None:
    assert sync_users([UserFactory.create().pk, uuid4()]) == BatchResult()
    assert sync_users([]) == BatchResult()


@pytest.mark.django_db
@pytest.mark.parametrize(
    "leave",
    [
        lambda user: User.objects.filter(pk=user.pk).update(deleted_at=datetime.now(UTC)),
        lambda user: User.objects.filter(pk=user.pk).update(is_staff=True),
        lambda user: ProfileEmbedding.objects.filter(pk=user.pk).delete(),
        lambda user: User.objects.filter(pk=user.pk).delete(),
    ],
    ids=["deleted softly", "made staff", "embedding deleted", "deleted for good"],
)
def test_project__removes_the_point_of_who_is_to_have_none(collection: str, leave: Callable[[User], object]) -> None:
    user = ProfileEmbeddingFactory.create().user
    sync_users([user.pk])
    leave(user)
    assert sync_users([user.pk]) == BatchResult(removed=1)
    assert point_of(user.pk) is None
    assert sync_users([user.pk]) == BatchResult()


@pytest.mark.django_db
def test_project__replaces_what_a_change_by_plain_sql_left_behind(any_collection: str) -> None:
    user = ProfileEmbeddingFactory.create(video_features=[1.0]).user
    sync_users([user.pk])
    plain_sql("UPDATE users SET active = false, gender = 'other' WHERE id = %s", user.pk)
    plain_sql(
        "UPDATE profile_embeddings SET video_features = NULL, location = NULL, vector = %s WHERE user_id = %s", unit_vector(77), user.pk
    )
    assert sync_users([user.pk]) == BatchResult(written=1)
    found = point(user.pk)
    assert (found["payload"]["active"], found["payload"]["gender"]) == (False, "other")
    assert not {"location", "video_features"} & set(found["payload"])
    assert np.allclose(found["vector"], unit_vector(77), atol=1e-6)


@pytest.mark.django_db
@pytest.mark.parametrize("length", [1e-30, 1e30])
def test_project__vectors_whose_squares_do_not_fit_into_32_bits(any_collection: str, length: float) -> None:
    """Qdrant would take them for too short to have a direction, or for infinitely long."""
    embedding = ProfileEmbeddingFactory.create(vector=[number * length for number in unit_vector(5)])
    sync_users([embedding.pk])
    assert np.allclose(point(embedding.pk)["vector"], unit_vector(5), atol=1e-6)


@pytest.mark.django_db
def test_project__batch_by_batch(embedded_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inline, "BATCH_SIZE", 2)
    there = people(5)
    assert sync_users(iter([*there, there[0], uuid4()])) == BatchResult(written=6)
    assert len(points()) == 5


@pytest.mark.django_db
def test_project__leaves_the_others_on_the_queue(embedded_collection: str) -> None:
    one, other = people(2)
    assert sync_users([one]) == BatchResult(written=1)
    assert (queued(one), queued(other)) == (0, 1)


# --- What goes wrong -------------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_project__without_the_collection(every_store: str) -> None:
    embedding = ProfileEmbeddingFactory.create()
    line = f"Qdrant has no collection {collection_name()!r}: make it with manage.py init_qdrant."
    for ask in (lambda: sync_users([embedding.pk]), lambda: point_of(embedding.pk), lambda: remove_point(embedding.pk)):
        with pytest.raises(CollectionNotFound) as raised:
            ask()
        assert str(raised.value) == line
    assert queued(embedding.pk) == 2


@pytest.mark.django_db
def test_project__without_qdrant(settings: Settings) -> None:
    settings.QDRANT_URL = "http://no-such-host.invalid"
    person = uuid4()
    for ask in (lambda: sync_users([person]), lambda: point_of(person), lambda: remove_point(person)):
        with pytest.raises(StoreUnavailable, match="contains the unknown host"):
            ask()
    assert queued(person) == 1


@pytest.mark.django_db(transaction=True)
def test_project__is_for_after_the_commit(embedded_collection: str) -> None:
    with pytest.raises(RuntimeError, match="durable"), transaction.atomic():
        sync_users([uuid4()])


@pytest.mark.django_db
def test_project__waits_so_long_for_others_and_no_longer(embedded_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inline, "WAIT_SECONDS", 0.2)
    (person,) = people(1)
    claim = claim_due(uuid4(), 1)
    assert claim is not None
    for ask in (lambda: sync_users([person]), lambda: remove_point(person)):
        with pytest.raises(StoreUnavailable) as raised:
            ask()
        assert str(raised.value) == (
            f"Another worker has been writing the points of these users for {inline.WAIT_SECONDS} seconds. Check which workers run, then run the command again."
        )
    release(claim, unanswered=False)
    assert sync_users([person]) == BatchResult(written=1)


# --- Removing for good -----------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_remove_point__whether_there_was_one(any_collection: str) -> None:
    (person,) = people(1)
    sync_users([person])
    assert remove_point(person)
    assert point_of(person) is None
    assert not remove_point(person)


@pytest.mark.django_db
def test_remove_point__a_deletion_that_did_not_happen(any_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (person,) = people(1)
    sync_users([person])
    monkeypatch.setattr(QdrantClient, "delete", lambda *_arguments, **_options: None)
    with pytest.raises(UserFacingError) as raised:
        remove_point(person)
    name = f"{collection_name()}_v1"
    assert str(raised.value) == (
        f"The point of {str(person)!r} is still in {name!r} after its deletion. Check Qdrant's log, then run the command again."
    )


@pytest.mark.django_db
@pytest.mark.parametrize("version", [2**53 + 2, [2**52]])
def test_remove_point__with_a_version_that_no_worker_can_have_written(any_collection: str, version: object) -> None:
    (person,) = people(1)
    write(a_point(person, version=version))
    assert remove_point(person)
    assert point_of(person) is None


@pytest.mark.django_db(transaction=True)
def test_remove_point__waits_for_whoever_holds_the_person(server_collection: str) -> None:
    (person,) = people(1)
    claim = claim_due(uuid4(), 1)
    assert claim is not None
    begun: list[bool] = []

    def remove() -> bool:
        with transaction.atomic():
            begun.append(True)
            return remove_point(person)

    with in_a_thread(remove) as removing:
        wait_until(lambda: begun and is_locked(person), "The removal has begun")
        assert not removing.done()
        release(claim, unanswered=False)
        assert removing.result(60) is False


def is_locked(user_id: UUID) -> bool:
    with another_connection() as other, other.cursor() as cursor:
        cursor.execute(f"SELECT pg_try_advisory_xact_lock({LOCK_OF}) FROM (SELECT %s::uuid AS person) asked", [user_id])
        return not cursor.fetchone()[0]


@pytest.mark.django_db(transaction=True)
def test_remove_point__nobody_claims_the_person_before_the_commit(server_collection: str) -> None:
    person, other = people(2)
    worker = uuid4()
    with transaction.atomic():
        User.objects.filter(pk=person).delete()
        remove_point(person)
        with in_a_thread(lambda: claim_due(worker, 10)) as claiming:
            claim = claiming.result(60)
        assert claim is not None and claim.users == {other}
    later = claim_due(worker, 10)
    assert later is not None and later.users == {person}


@pytest.mark.django_db
def test_remove_point__of_whom_a_dead_worker_held(server_collection: str) -> None:
    """What it sent may still be applied: the person is looked at again."""
    (person,) = people(1)
    assert claim_due(uuid4(), 1) is not None
    SyncLease.objects.update(expires_at=datetime(2020, 1, 1, tzinfo=UTC))
    remove_point(person)
    assert QueueEntry.objects.filter(user_id=person, awaits_ack=True).count() == 1


@pytest.mark.django_db
def test_remove_point__in_every_collection_that_is_written(collection: str) -> None:
    (person,) = people(1)
    secondary = f"{collection_name()}_v2"
    with qdrant() as client:
        client.create_collection(secondary, vectors_config=models.VectorParams(size=512, distance=models.Distance.COSINE))
    registry.register(secondary, State.RETAINED, "")
    assert sync_users([person]) == BatchResult(written=1)
    assert points(secondary) == {str(person)}
    assert remove_point(person)
    assert points(secondary) == points() == set()


@pytest.mark.django_db
def test_remove_point__a_secondary_collection_that_fails_is_marked_failed(collection: str) -> None:
    (person,) = people(1)
    sync_users([person])
    registry.register(f"{collection_name()}_v2", State.BUILDING, "")
    assert remove_point(person)
    failed = VectorCollection.objects.get(pk=f"{collection_name()}_v2")
    assert (failed.state, failed.failure_reason) == (
        State.FAILED,
        f"Qdrant has no collection '{collection_name()}_v2': make it with manage.py init_qdrant.",
    )


@pytest.mark.django_db(transaction=True)
def test_remove_point__leaves_the_callers_own_timeouts_alone(embedded_collection: str) -> None:
    with another_connection() as other, transaction.atomic():
        person = uuid4()
        with other.cursor() as cursor, connection.cursor() as mine:
            cursor.execute(f"SELECT pg_advisory_lock({LOCK_OF}) FROM (SELECT %s::uuid AS person) asked", [person])
            mine.execute("SET LOCAL lock_timeout = '50ms'")
        with pytest.raises(StoreUnavailable, match="Another worker has been writing"), transaction.atomic():
            remove_point(person)
        with connection.cursor() as mine:
            mine.execute("SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = '50ms'")
        with pytest.raises(OperationalError, match="statement timeout"), transaction.atomic():
            remove_point(person)


def test_enqueue__is_what_a_writer_does(db: Any) -> None:
    person = uuid4()
    assert (enqueue([person, person]), enqueue([])) == (1, 0)
    assert queued() == 1
