"""Which points hold a vector that exists only in Qdrant."""

from __future__ import annotations

import threading
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import transaction
from pytest_django import DjangoAssertNumQueries
from qdrant_client.models import Record

from accounts.models import User
from tests.factories import ProfileEmbeddingFactory, UserFactory
from tests.support.threads import in_thread
from tests.vectorstore.retention.unique_points import create_guide_collection, point, users_without_embedding, write
from vectorstore.catalog.ownership import ADOPTED_AT, ADOPTING, DATABASE, database_id
from vectorstore.consistency.versions import MARGIN, allocate_version, allocated_versions, last_allocated, raise_above
from vectorstore.models import ProfileEmbedding, QueueEntry, StoreState
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.retention.unique_vectors import DiscardLimit, UniqueVectors, UniqueVectorsFound, unique_among, unique_in, version_floor
from vectorstore.schema.initialize import initialize
from vectorstore.sync.worker import sync_once

pytestmark = pytest.mark.django_db(transaction=True)


def record(point_id: UUID | int, **payload: Any) -> Record:
    return Record(id=point_id if isinstance(point_id, int) else str(point_id), payload=payload)


def is_unique(one: Record, floor: int | None = 0) -> bool:
    return UniqueVectors(floor).among([one]) == [one.id]


# --- User of the point -----------------------------------------------------------------------------------------------------------


def test_among__user_without_an_embedding__is_unique() -> None:
    (unstored,) = users_without_embedding(1)
    assert is_unique(record(unstored))
    assert is_unique(record(UserFactory.create(inactive=True, unverified=True).pk))


@pytest.mark.parametrize("trait", ["staff", "deleted", "anonymized"])
def test_among__user_who_may_have_no_point__is_not_unique(trait: str) -> None:
    assert not is_unique(record(UserFactory.create(**{trait: True}).pk))


def test_among__user_with_an_embedding_or_unknown_user__is_not_unique() -> None:
    assert not is_unique(record(ProfileEmbeddingFactory.create().pk))
    assert not is_unique(record(uuid4()))
    assert not is_unique(record(7))


def test_among__user_id_in_the_payload__counts() -> None:
    """Another program may use numbers or other UUIDs as point ids."""
    (unstored,) = users_without_embedding(1)
    assert is_unique(record(7, user_id=str(unstored)))
    assert is_unique(record(uuid4(), user_id=str(unstored).upper()))
    for other in (str(ProfileEmbeddingFactory.create().pk), str(uuid4()), "no uuid", 7, None, [str(unstored)]):
        assert not is_unique(record(7, user_id=other))


# --- Version of the point --------------------------------------------------------------------------------------------------------


def test_among__allocated_version__is_not_unique() -> None:
    (unstored,) = users_without_embedding(1)
    version = allocate_version()
    assert not is_unique(record(unstored, version=version))
    unique_vectors = UniqueVectors(0)
    assert unique_vectors.among([record(unstored, version=version + 1)]) == [str(unstored)]
    allocate_version()  # a worker has allocated this version since, and written the point
    assert unique_vectors.among([record(unstored, version=version + 1)]) == []


@pytest.mark.parametrize("version", [None, "7", 1.5, True, 0, -3, [1], 2**52, 2**53, 2**60, 1e300])
def test_among__impossible_version__is_unique(version: object) -> None:
    (unstored,) = users_without_embedding(1)
    allocate_version()
    assert is_unique(record(unstored, version=version))


def test_among__version_up_to_the_adoption__is_unique() -> None:
    (unstored,) = users_without_embedding(1)
    adopted_at = allocate_version()
    assert is_unique(record(unstored, version=adopted_at), floor=adopted_at)
    assert not is_unique(record(unstored, version=allocate_version()), floor=adopted_at)
    assert is_unique(record(unstored, version=adopted_at), floor=None)


def test_among__skipped_version__is_unique() -> None:
    """After a restore of PostgreSQL, the sequence is above a version that this database never allocated."""
    (unstored,) = users_without_embedding(1)
    own = allocate_version()
    lost = own + 500
    assert raise_above(lost)
    assert last_allocated() > lost
    assert is_unique(record(unstored, version=lost))
    assert not is_unique(record(unstored, version=own))
    assert not is_unique(record(unstored, version=allocate_version()))


def test_raise_above__records_the_skipped_versions() -> None:
    first = allocate_version()
    assert raise_above(first + 10)
    assert not raise_above(first + 10)
    assert StoreState.current().skipped_versions == [[first + 1, first + 10 + MARGIN]]
    second = allocate_version()
    assert raise_above(second + 3)
    versions = allocated_versions()
    assert [version in versions for version in (0, first, first + 1, second - 1, second, second + 1, second + 3 + MARGIN)] == [
        False,
        True,
        False,
        False,
        True,
        False,
        False,
    ]
    assert allocate_version() in allocated_versions()


def test_version_floor__collection_of_this_database__is_the_version_at_adoption() -> None:
    own = {DATABASE: database_id()}
    assert version_floor(own) == 0
    assert version_floor({**own, ADOPTED_AT: 12}) == 12
    for metadata in (None, {}, {DATABASE: str(uuid4())}, {**own, ADOPTING: True}, {**own, ADOPTED_AT: "12"}):
        assert version_floor(metadata) is None


# --- Many points -----------------------------------------------------------------------------------------------------------------


def test_among__many_points__needs_one_query(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    unstored = users_without_embedding(3)
    points = [record(user) for user in unstored] + [record(uuid4()) for _ in range(500)]
    with django_assert_num_queries(1):
        assert set(UniqueVectors(None).among(points)) == set(map(str, unstored))
    own = [record(uuid4(), version=allocate_version()) for _ in range(50)]
    with django_assert_num_queries(2):  # the sequence and its skipped ranges, but not users
        assert UniqueVectors(0).among(own) == []


def test_unique_in__many_pages__finds_every_unique_vector(every_store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vectorstore.retention.unique_vectors.PAGE_SIZE", 3)
    unstored = users_without_embedding(4)
    create_guide_collection([*map(point, unstored), point(1), point(2, user_id=str(unstored[0])), *(point(uuid4()) for _ in range(5))])
    found = list(unique_in(collection_name(), UniqueVectors(None)))
    assert len(found) == 4
    assert {one for page in found for one in page} == {2, *map(str, unstored)}
    with qdrant() as client:
        assert set(unique_among(client, collection_name(), [1, 2, str(unstored[3]), str(uuid4())])) == {2, str(unstored[3])}
        assert unique_among(client, collection_name(), []) == []


def test_unique_in__own_collection__finds_only_points_of_other_programs(every_store: str) -> None:
    """A point that a worker wrote is not unique, even if the deletion of its row was not captured."""
    initialize()
    written = ProfileEmbeddingFactory.create().pk
    sync_once(timeout=20)
    (unstored,) = users_without_embedding(1)
    write([point(unstored)])
    ProfileEmbedding.objects.filter(pk=written).delete()
    QueueEntry.objects.all().delete()
    with qdrant() as client:
        unique_vectors = UniqueVectors.of(client, collection_name())
    assert list(unique_in(collection_name(), unique_vectors)) == [[str(unstored)]]


def test_discard_limit__counts_all_collections_together() -> None:
    limit = DiscardLimit(5)
    limit.counts = {"a": 3, "b": 2}
    limit.require()
    limit.counts["c"] = 1
    with pytest.raises(UniqueVectorsFound, match=r"^6 points hold the only copy of a user's vector and the limit is 5: a is left."):
        limit.require("a is left")


# --- Concurrent transactions -----------------------------------------------------------------------------------------------------


def test_among__uncommitted_insert__is_still_unique() -> None:
    """The insert may still be rolled back."""
    (unstored,) = users_without_embedding(1)
    inserted, over = threading.Event(), threading.Event()

    def insert() -> None:
        with transaction.atomic():
            ProfileEmbeddingFactory.create(user=User.objects.get(pk=unstored))
            inserted.set()
            assert over.wait(60)

    thread = in_thread(insert)
    try:
        assert inserted.wait(60)
        assert is_unique(record(unstored))
    finally:
        over.set()
        thread.result()
    assert not is_unique(record(unstored))


def test_among__deletion__is_unique_only_after_a_worker_has_synced_it() -> None:
    """The captured deletion removes the point. Afterwards, only another program can have written one."""
    user = ProfileEmbeddingFactory.create().pk
    deleted, over = threading.Event(), threading.Event()

    def delete() -> None:
        with transaction.atomic():
            ProfileEmbedding.objects.filter(pk=user).delete()
            deleted.set()
            assert over.wait(60)

    thread = in_thread(delete)
    try:
        assert deleted.wait(60)
        assert not is_unique(record(user))
    finally:
        over.set()
        thread.result()
    assert QueueEntry.objects.filter(user_id=user, cause=QueueEntry.Cause.DELETION).exists()
    assert not is_unique(record(user))
    QueueEntry.objects.all().delete()
    assert is_unique(record(user))
