"""The decision itself: which points hold a vector that exists only in Qdrant."""

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
from tests.vectorstore.retention.only_in_qdrant import of_the_guides_program, point, users, write
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


# --- Whose vector it is ----------------------------------------------------------------------------------------------------------


def test_among__users_in_postgresql_without_an_embedding() -> None:
    (bare,) = users(1)
    assert is_unique(record(bare))
    assert is_unique(record(UserFactory.create(inactive=True, unverified=True).pk))


@pytest.mark.parametrize("trait", ["staff", "deleted", "anonymized"])
def test_among__no_user_who_is_to_have_no_point(trait: str) -> None:
    assert not is_unique(record(UserFactory.create(**{trait: True}).pk))


def test_among__no_user_with_an_embedding_and_no_unknown_one() -> None:
    assert not is_unique(record(ProfileEmbeddingFactory.create().pk))
    assert not is_unique(record(uuid4()))
    assert not is_unique(record(7))


def test_among__the_user_in_the_payload() -> None:
    """Another program may number its points, or give them ids of their own."""
    (bare,) = users(1)
    assert is_unique(record(7, user_id=str(bare)))
    assert is_unique(record(uuid4(), user_id=str(bare).upper()))
    for other in (str(ProfileEmbeddingFactory.create().pk), str(uuid4()), "no uuid", 7, None, [str(bare)]):
        assert not is_unique(record(7, user_id=other))


# --- Whose version it is ---------------------------------------------------------------------------------------------------------


def test_among__a_version_that_this_database_allocated_proves_that_postgresql_had_the_vector() -> None:
    (bare,) = users(1)
    version = allocate_version()
    assert not is_unique(record(bare, version=version))
    judge = UniqueVectors(0)
    assert judge.among([record(bare, version=version + 1)]) == [str(bare)]
    allocate_version()  # a worker has allocated one since, and written it
    assert judge.among([record(bare, version=version + 1)]) == []


@pytest.mark.parametrize("version", [None, "7", 1.5, True, 0, -3, [1], 2**52, 2**53, 2**60, 1e300])
def test_among__a_version_that_no_worker_can_have_written(version: object) -> None:
    (bare,) = users(1)
    allocate_version()
    assert is_unique(record(bare, version=version))


def test_among__a_version_up_to_the_adoption_is_another_databases() -> None:
    (bare,) = users(1)
    adopted_at = allocate_version()
    assert is_unique(record(bare, version=adopted_at), floor=adopted_at)
    assert not is_unique(record(bare, version=allocate_version()), floor=adopted_at)
    assert is_unique(record(bare, version=adopted_at), floor=None)


def test_among__a_version_that_the_sequence_was_set_past() -> None:
    """As after a restore of PostgreSQL: the sequence is above it, and this database never allocated it."""
    (bare,) = users(1)
    ours = allocate_version()
    lost = ours + 500
    assert raise_above(lost)
    assert last_allocated() > lost
    assert is_unique(record(bare, version=lost))
    assert not is_unique(record(bare, version=ours))
    assert not is_unique(record(bare, version=allocate_version()))


def test_raise_above__records_what_it_skips_and_only_that() -> None:
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


def test_version_floor__of_a_collection_that_is_this_databases() -> None:
    ours = {DATABASE: database_id()}
    assert version_floor(ours) == 0
    assert version_floor({**ours, ADOPTED_AT: 12}) == 12
    for metadata in (None, {}, {DATABASE: str(uuid4())}, {**ours, ADOPTING: True}, {**ours, ADOPTED_AT: "12"}):
        assert version_floor(metadata) is None


# --- Many points -----------------------------------------------------------------------------------------------------------------


def test_among__one_query_for_many_points(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    bare = users(3)
    points = [record(person) for person in bare] + [record(uuid4()) for _ in range(500)]
    with django_assert_num_queries(1):
        assert set(UniqueVectors(None).among(points)) == set(map(str, bare))
    own = [record(uuid4(), version=allocate_version()) for _ in range(50)]
    with django_assert_num_queries(2):  # the sequence and its skipped ranges, and no question about users
        assert UniqueVectors(0).among(own) == []


def test_unique_in__every_point_page_by_page(every_store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vectorstore.retention.unique_vectors.PAGE_SIZE", 3)
    bare = users(4)
    of_the_guides_program([*map(point, bare), point(1), point(2, user_id=str(bare[0])), *(point(uuid4()) for _ in range(5))])
    found = list(unique_in(collection_name(), UniqueVectors(None)))
    assert len(found) == 4
    assert {one for page in found for one in page} == {2, *map(str, bare)}
    with qdrant() as client:
        assert set(unique_among(client, collection_name(), [1, 2, str(bare[3]), str(uuid4())])) == {2, str(bare[3])}
        assert unique_among(client, collection_name(), []) == []


def test_unique_in__a_collection_of_ours(every_store: str) -> None:
    """What workers wrote is theirs, also where the user's row is gone without a trace; what another program wrote is not."""
    initialize()
    written = ProfileEmbeddingFactory.create().pk
    sync_once(timeout=20)
    (bare,) = users(1)
    write([point(bare)])
    ProfileEmbedding.objects.filter(pk=written).delete()
    QueueEntry.objects.all().delete()
    with qdrant() as client:
        judge = UniqueVectors.of(client, collection_name())
    assert list(unique_in(collection_name(), judge)) == [[str(bare)]]


def test_discard_limit__of_all_collections_together() -> None:
    limit = DiscardLimit(5)
    limit.counts = {"a": 3, "b": 2}
    limit.require()
    limit.counts["c"] = 1
    with pytest.raises(UniqueVectorsFound, match=r"^6 points hold the only copy of a user's vector and the limit is 5: a is left."):
        limit.require("a is left")


# --- While rows come and go ------------------------------------------------------------------------------------------------------


def test_among__an_embedding_that_is_just_being_inserted() -> None:
    """It may still be rolled back."""
    (bare,) = users(1)
    inserted, over = threading.Event(), threading.Event()

    def insert() -> None:
        with transaction.atomic():
            ProfileEmbeddingFactory.create(user=User.objects.get(pk=bare))
            inserted.set()
            assert over.wait(60)

    thread = in_thread(insert)
    try:
        assert inserted.wait(60)
        assert is_unique(record(bare))
    finally:
        over.set()
        thread.result()
    assert not is_unique(record(bare))


def test_among__an_embedding_that_is_just_being_deleted() -> None:
    """Its deletion is captured when it is committed, and removes the point then. When a worker has done that, another program may write one."""
    person = ProfileEmbeddingFactory.create().pk
    deleted, over = threading.Event(), threading.Event()

    def delete() -> None:
        with transaction.atomic():
            ProfileEmbedding.objects.filter(pk=person).delete()
            deleted.set()
            assert over.wait(60)

    thread = in_thread(delete)
    try:
        assert deleted.wait(60)
        assert not is_unique(record(person))
    finally:
        over.set()
        thread.result()
    assert QueueEntry.objects.filter(user_id=person, cause=QueueEntry.Cause.DELETION).exists()
    assert not is_unique(record(person))
    QueueEntry.objects.all().delete()
    assert is_unique(record(person))
