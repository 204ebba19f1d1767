"""Points of users that are left in any collection."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from qdrant_client import models

from tests.factories import unit_vector
from tests.support.users import create_users
from vectorstore.catalog import registry
from vectorstore.catalog.ownership import DATABASE
from vectorstore.models import VectorCollection
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.sync import leftovers
from vectorstore.sync.inline import remove_point, sync_users
from vectorstore.sync.leftovers import collections_with_point, has_point, scan_for_users

State = VectorCollection.State

pytestmark = pytest.mark.django_db


def add_collection(name: str, state: VectorCollection.State, *users: UUID, **payload: str) -> str:
    """Create a collection with a point for each user, and register it."""
    with qdrant() as client:
        client.create_collection(name, vectors_config=models.VectorParams(size=512, distance=models.Distance.COSINE))
        if users:
            client.upsert(name, [models.PointStruct(id=str(user), vector=unit_vector(1), payload=payload) for user in users], wait=True)
    registry.register(name, state, "")
    return name


def version(number: int) -> str:
    return f"{collection_name()}_v{number}"


def test_collections_with_point__names_each(any_collection: str) -> None:
    user, other = create_users(2)
    sync_users([user, other])
    retained = add_collection(version(2), State.RETAINED, user)
    copy = add_collection(registry.copy_name(), State.RETAINED, user)
    assert sorted(collections_with_point(user)) == sorted([version(1), retained, copy])
    assert collections_with_point(other) == [version(1)]
    assert remove_point(user)
    assert collections_with_point(user) == []


def test_has_point__in_a_retained_collection_only(collection: str) -> None:
    user = uuid4()
    add_collection(version(2), State.RETAINED, user)
    assert has_point(user)
    assert not has_point(uuid4())


@pytest.mark.parametrize("find", [has_point, collections_with_point])
def test_find__secondary_that_fails__is_marked_failed(collection: str, find: object) -> None:
    registry.register(version(2), State.BUILDING, "")
    assert callable(find)
    assert not find(uuid4())
    assert VectorCollection.objects.get(pk=version(2)).state == State.FAILED


def test_scan_for_users__reads_every_page_of_every_collection(collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "PAGE_SIZE", 2)
    users = create_users(5)
    sync_users(users)
    in_retained, in_copy, in_failed = uuid4(), uuid4(), uuid4()
    add_collection(version(2), State.RETAINED, in_retained)
    add_collection(registry.copy_name(), State.RETAINED, in_copy)
    add_collection(version(3), State.FAILED, in_failed)
    found = {*users, in_retained, in_copy, in_failed}
    assert scan_for_users([*found, uuid4()]) == found


def test_scan_for_users__payload_of_another_program(collection: str) -> None:
    """It names the user in a form of its own, and the point has another id."""
    user = uuid4()
    with qdrant() as client:
        named = {"user_id": user.hex.upper()}
        points = [models.PointStruct(id=point, vector=unit_vector(1), payload=named) for point in (7, str(uuid4()))]
        client.upsert(version(1), points, wait=True)
    assert not has_point(user)
    assert scan_for_users([user]) == {user}


def test_scan_for_users__missing_secondary__is_left_out(collection: str) -> None:
    registry.register(version(2), State.RETAINED, "")
    assert scan_for_users([uuid4()]) == frozenset()
    assert VectorCollection.objects.get(pk=version(2)).state == State.RETAINED


def test_scan_for_users__collection_of_another_database__is_left_out(collection: str) -> None:
    """It was live here once. Its points are those of another database."""
    user = uuid4()
    name = add_collection(version(2), State.FAILED, user)
    VectorCollection.objects.filter(pk=name).update(live_since="2026-01-01T00:00Z")
    with qdrant() as client:
        client.update_collection(name, metadata={DATABASE: str(uuid4())})
    assert scan_for_users([user]) == frozenset()
