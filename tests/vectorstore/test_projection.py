import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from django.db import OperationalError, connection, transaction
from pytest_django import DjangoAssertNumQueries, Settings
from qdrant_client import QdrantClient, models

from accounts.age import today
from accounts.models import User
from findme.console.errors import NotDone, StoreUnavailable
from tests.factories import ProfileEmbeddingFactory, UserFactory, unit_vector
from tests.threads import in_thread
from vectorstore import person_lock, projection
from vectorstore.connection import collection_name, qdrant
from vectorstore.errors import CollectionMissing
from vectorstore.initialisation import initialise
from vectorstore.models import ProfileEmbedding
from vectorstore.person_lock import lock_people
from vectorstore.projection import Projected, delete_points, payload_of, point_from, point_of, project, remove_point

SECONDS = 60


@pytest.fixture
def collection(store: str) -> str:
    initialise(lambda _: None)
    return store


@pytest.fixture
def any_collection(every_store: str) -> str:
    initialise(lambda _: None)
    return every_store


def age_years(years: int) -> date:
    """The birthday of somebody who has that age today, and had it yesterday."""
    return today().replace(year=today().year - years, day=1) - timedelta(days=1)


def point(user_id: UUID) -> dict[str, Any]:
    found = point_of(user_id)
    assert found is not None
    return found


# --- The payload -----------------------------------------------------------------------------------------------------------------


def test_payload_of__everything() -> None:
    created_at = datetime(2025, 1, 15, 12, 30, 5, 123456, tzinfo=timezone(timedelta(hours=2)))
    user = UserFactory.build(date_of_birth=age_years(30), gender="female", verified=True, active=False, created_at=created_at)
    embedding = ProfileEmbeddingFactory.build(
        user=user, location={"lat": 52.5, "lon": 13}, interests=["books", "hiking"], video_features=[0.25, -1.0]
    )
    assert payload_of(user, embedding) == {
        "user_id": str(user.pk),
        "age": 30,
        "age_group": "25-34",
        "gender": "female",
        "active": False,
        "verified": True,
        "created_at": "2025-01-15T10:30:05.123456Z",
        "location": {"lat": 52.5, "lon": 13},
        "interests": ["books", "hiking"],
        "video_features": [0.25, -1.0],
    }


def test_payload_of__what_is_null_is_left_out() -> None:
    user = UserFactory.build(created_at=datetime(2025, 1, 1, tzinfo=UTC))
    payload = payload_of(user, ProfileEmbeddingFactory.build(user=user, location=None, interests=[], video_features=None))
    assert set(payload) == {"user_id", "age", "age_group", "gender", "active", "verified", "created_at", "interests"}
    assert (payload["interests"], payload["created_at"]) == ([], "2025-01-01T00:00:00Z")


@pytest.mark.parametrize(
    ("numbers", "reason"),
    [
        ([1.0] * 511, "has 511 numbers, and must have 512"),
        ([float("nan")] * 512, "number 1 is NaN"),
        ([0.0] * 512, "is all zeros as 32-bit numbers: it has no direction"),
    ],
)
def test_point_from__a_row_that_no_constraint_held_back(numbers: list[float], reason: str) -> None:
    embedding = ProfileEmbeddingFactory.build(vector=numbers)
    with pytest.raises(NotDone) as raised:
        point_from(embedding)
    assert str(raised.value) == f"The vector of {str(embedding.user.pk)!r} {reason}: correct its row in profile_embeddings."


# --- Who has a point -------------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_project__writes_the_point_as_the_rows_are(any_collection: str) -> None:
    embedding = ProfileEmbeddingFactory.create(location={"lat": 48.8, "lon": 2}, interests=[], video_features=[0.1, 1e-9])
    assert project([embedding.pk]) == Projected(written=1)
    found = point(embedding.pk)
    embedding.refresh_from_db()
    assert found["payload"] == payload_of(embedding.user, embedding)
    assert np.allclose(found["vector"], embedding.vector, atol=1e-6)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("person", "has_point"),
    [
        ({}, True),
        ({"inactive": True}, True),
        ({"unverified": True}, True),
        ({"staff": True}, False),
        ({"deleted": True}, False),
        ({"anonymised": True}, False),
    ],
    ids=str,
)
def test_project__who_has_a_point(collection: str, person: dict[str, bool], has_point: bool) -> None:
    user = UserFactory.create(**person)
    ProfileEmbeddingFactory.create(user=user)
    assert project([user.pk]) == Projected(written=int(has_point))
    assert (point_of(user.pk) is not None) is has_point


@pytest.mark.django_db
def test_project__nobody_without_an_embedding_has_a_point(collection: str) -> None:
    assert project([UserFactory.create().pk, uuid4()]) == Projected()
    assert project([]) == Projected()


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
def test_project__removes_the_point_of_who_is_to_have_none(any_collection: str, leave: Callable[[User], object]) -> None:
    user = ProfileEmbeddingFactory.create().user
    project([user.pk])
    leave(user)
    assert project([user.pk]) == Projected(removed=1)
    assert point_of(user.pk) is None
    assert project([user.pk]) == Projected()


@pytest.mark.django_db
def test_project__replaces_what_a_change_by_plain_sql_left_behind(any_collection: str) -> None:
    user = ProfileEmbeddingFactory.create(video_features=[1.0]).user
    project([user.pk])
    with connection.cursor() as cursor:
        cursor.execute("UPDATE users SET active = false, gender = 'other' WHERE id = %s", [user.pk])
        cursor.execute(
            "UPDATE profile_embeddings SET video_features = NULL, location = NULL, vector = %s WHERE user_id = %s",
            [unit_vector(77), user.pk],
        )
    assert project([user.pk]) == Projected(written=1)
    found = point(user.pk)
    assert (found["payload"]["active"], found["payload"]["gender"]) == (False, "other")
    assert not {"location", "video_features"} & set(found["payload"])
    assert np.allclose(found["vector"], unit_vector(77), atol=1e-6)


@pytest.mark.django_db
@pytest.mark.parametrize("length", [1e-30, 1e30])
def test_project__vectors_whose_squares_do_not_fit_into_32_bits(any_collection: str, length: float) -> None:
    """Qdrant would take them for too short to have a direction, or for infinitely long."""
    embedding = ProfileEmbeddingFactory.create(vector=[number * length for number in unit_vector(5)])
    project([embedding.pk])
    assert np.allclose(point(embedding.pk)["vector"], unit_vector(5), atol=1e-6)


# --- Batches ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_project__batch_by_batch(collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projection, "BATCH_SIZE", 2)
    people = [embedding.pk for embedding in ProfileEmbeddingFactory.create_batch(5)]
    User.objects.filter(pk=people[0]).update(active=False)
    assert project(iter([*people, people[0], uuid4()])) == Projected(written=6)
    with qdrant() as client:
        assert client.count(collection_name()).count == 5


@pytest.mark.django_db
def test_project__its_queries_do_not_grow_with_a_batch(collection: str, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    people = [embedding.pk for embedding in ProfileEmbeddingFactory.create_batch(6)]
    for batch in (people[:1], people):
        with django_assert_num_queries(5):  # a savepoint, the wait for locks, the locks, the rows, the end of the savepoint
            project(batch)


@pytest.mark.django_db
def test_project__reads_no_more_ids_than_it_needs(collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projection, "BATCH_SIZE", 2)
    taken = 0

    def endless() -> Any:
        nonlocal taken
        while True:
            taken += 1
            if taken > 5:
                raise ZeroDivisionError
            yield uuid4()

    with pytest.raises(ZeroDivisionError):
        project(endless())


# --- What goes wrong -------------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_project__without_the_collection(every_store: str) -> None:
    embedding = ProfileEmbeddingFactory.create()
    line = f"Qdrant has no collection {collection_name()!r}: make it with manage.py init_qdrant."
    for ask in (lambda: project([embedding.pk]), lambda: point_of(embedding.pk), lambda: remove_point(embedding.pk)):
        with pytest.raises(CollectionMissing) as raised:
            ask()
        assert str(raised.value) == line


@pytest.mark.django_db
def test_project__without_qdrant(settings: Settings) -> None:
    settings.QDRANT_URL = "http://no-such-host.invalid"
    for ask in (lambda: project([uuid4()]), lambda: point_of(uuid4()), lambda: remove_point(uuid4())):
        with pytest.raises(StoreUnavailable, match="names a host that is not known here"):
            ask()


@pytest.mark.django_db
def test_project__an_upsert_that_did_not_arrive(any_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    embedding = ProfileEmbeddingFactory.create()
    monkeypatch.setattr(QdrantClient, "upsert", lambda *_arguments, **_options: None)
    with pytest.raises(StoreUnavailable) as raised:
        project([embedding.pk])
    name = f"{collection_name()}_v1"
    assert str(raised.value) == f"Of 1 points that Qdrant took for {name!r}, it has 0: look at its log, and run it again."


@pytest.mark.django_db
def test_remove_point__a_deletion_that_did_not_happen(any_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    embedding = ProfileEmbeddingFactory.create()
    project([embedding.pk])
    monkeypatch.setattr(QdrantClient, "delete", lambda *_arguments, **_options: None)
    with pytest.raises(NotDone) as raised:
        remove_point(embedding.pk)
    name = f"{collection_name()}_v1"
    assert str(raised.value) == f"1 of 1 points are still in {name!r} after their deletion: look at Qdrant's log, and run it again."


@pytest.mark.qdrant_server
def test_delete_points__while_a_segment_is_rewritten(server: object) -> None:
    """An exact count with ``has_id`` goes on counting what was deleted until the rewriting ends: here after every thirtieth deletion or so."""
    name, number = f"{collection_name()}_small", 2000
    vectors = np.random.default_rng(1).standard_normal((number, 64))
    statuses = set()
    with qdrant() as client:
        client.create_collection(
            name,
            vectors_config=models.VectorParams(size=64, distance=models.Distance.COSINE),
            hnsw_config=models.HnswConfigDiff(m=32, ef_construct=400, full_scan_threshold=10),
            optimizers_config=models.OptimizersConfigDiff(
                indexing_threshold=100, deleted_threshold=0.01, vacuum_min_vector_number=100, default_segment_number=1
            ),
        )
        client.upsert(name, [models.PointStruct(id=index, vector=vectors[index].tolist()) for index in range(number)], wait=True)
        for first in range(0, number, 20):
            assert delete_points(client, name, range(first, first + 20)) == 20
            statuses.add(client.get_collection(name).status)
        assert client.scroll(name)[0] == []
    assert models.CollectionStatus.YELLOW in statuses


@pytest.mark.django_db
def test_remove_point__whether_there_was_one(any_collection: str) -> None:
    embedding = ProfileEmbeddingFactory.create()
    project([embedding.pk])
    assert remove_point(embedding.pk)
    assert point_of(embedding.pk) is None
    assert not remove_point(embedding.pk)


@pytest.mark.django_db(transaction=True)
def test_project__is_for_after_the_commit(embedded_qdrant: object) -> None:
    with pytest.raises(RuntimeError, match="durable"), transaction.atomic():
        project([uuid4()])


# --- Beside others ---------------------------------------------------------------------------------------------------------------


class Paused:
    """Stops the first upsert right before it is sent, with the rows read and the locks held."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.go_on = threading.Event(), threading.Event()
        upsert = QdrantClient.upsert

        def pausing(*arguments: Any, **options: Any) -> Any:
            if not self.reached.is_set():
                self.reached.set()
                assert self.go_on.wait(SECONDS)
            return upsert(*arguments, **options)

        monkeypatch.setattr(QdrantClient, "upsert", pausing)


def wait_for_waiting() -> None:
    """Until somebody waits for an advisory lock."""
    deadline = datetime.now(UTC) + timedelta(seconds=SECONDS)
    with connection.cursor() as cursor:
        while True:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
            if cursor.fetchone()[0]:
                return
            assert datetime.now(UTC) < deadline


@pytest.mark.qdrant_server
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("change", ["update", "delete"])
def test_project__who_commits_last_is_projected_last(qdrant_server: object, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    """A slow projection of what was before does not come after the fast one of what is now."""
    initialise(lambda _: None)
    user = ProfileEmbeddingFactory.create(user__active=True).user
    paused = Paused(monkeypatch)
    slow = in_thread(lambda: project([user.pk]))
    assert paused.reached.wait(SECONDS)
    if change == "update":
        User.objects.filter(pk=user.pk).update(active=False)
    else:
        User.objects.filter(pk=user.pk).delete()
    fast = in_thread(lambda: project([user.pk]))
    wait_for_waiting()
    paused.go_on.set()
    for thread in (slow, fast):
        thread.join(SECONDS)
    if change == "update":
        assert point(user.pk)["payload"]["active"] is False
    else:
        assert point_of(user.pk) is None


@pytest.mark.qdrant_server
@pytest.mark.django_db(transaction=True)
def test_remove_point__nobody_writes_it_again_before_the_commit(qdrant_server: object) -> None:
    initialise(lambda _: None)
    user = ProfileEmbeddingFactory.create().user
    project([user.pk])
    with transaction.atomic():
        User.objects.filter(pk=user.pk).delete()
        remove_point(user.pk)
        other = in_thread(lambda: project([user.pk]))
        wait_for_waiting()
    other.join(SECONDS)
    assert point_of(user.pk) is None


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("people", [1, 3])
def test_lock_people__waits_so_long_and_no_longer(monkeypatch: pytest.MonkeyPatch, people: int) -> None:
    monkeypatch.setattr(person_lock, "LOCK_SECONDS", 0.2)
    user_ids = [uuid4() for _ in range(people)]
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", [person_lock.key_of(user_ids[-1])])
        with pytest.raises(StoreUnavailable) as raised, transaction.atomic():
            lock_people(user_ids)
    finally:
        other.close()
    assert str(raised.value) == (
        "Somebody else is writing the points of the same people, and has not been done in time: see what runs, and run it again."
    )
    with transaction.atomic():
        lock_people(user_ids)
        lock_people(reversed(user_ids))


@pytest.mark.django_db(transaction=True)
def test_lock_people__leaves_another_error_what_it_is() -> None:
    user_id = uuid4()
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", [person_lock.key_of(user_id)])
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = '50ms'")
        with pytest.raises(OperationalError, match="statement timeout"), transaction.atomic():
            lock_people([user_id])
    finally:
        other.close()
        with connection.cursor() as cursor:
            cursor.execute("RESET statement_timeout")


@pytest.mark.django_db
def test_lock_people__leaves_the_callers_own_patience_alone() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '5s'")
        lock_people([uuid4()])
        cursor.execute("SHOW lock_timeout")
        assert cursor.fetchone() == ("5s",)
