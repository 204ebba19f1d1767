"""A collection for a restored database that does not serve yet: every point is compared, and again only after a difference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from qdrant_client import models

from findme.core.errors import UserFacingError
from tests.factories import unit_vector
from tests.qdrant import QdrantServer
from tests.schema.rows import ask
from tests.support.users import create_users
from tests.vectorstore.snapshots.test_restoring import create_and_sync, name, snapshot
from vectorstore.catalog.alias import alias_target
from vectorstore.consistency.restored import forget_collections
from vectorstore.models import StoreState
from vectorstore.qdrant.connection import qdrant
from vectorstore.rebuild.acceptance import accept
from vectorstore.snapshots import restore
from vectorstore.snapshots.aside import Aside, make_aside, next_name, upload_aside
from vectorstore.verification.drift import DriftReport
from vectorstore.verification.merge_join import verify_collection

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.qdrant_server]


@pytest.fixture
def comparisons(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the collections that are compared a second time."""
    seen: list[str] = []

    def accept_and_note(collection: str, **options: Any) -> Any:
        seen.append(collection)
        return accept(collection, **options)

    monkeypatch.setattr(restore, "accept", accept_and_note)
    return seen


def make_from(path: Path) -> Aside:
    """Do what a restore does in the process of the restored database."""
    forget_collections()
    upload_aside([path], name=name(2))
    return make_aside(name=name(2), is_uploaded=True, min_recall=0.0)


def differing() -> int:
    with DriftReport(name(2)) as found:
        verify_collection(found, building=False, ages_valid_on=StoreState.current().ages_refreshed_on, report=lambda *_: None)
        return found.differing + found.pending


def test_equal_points__are_compared_once(any_collection: QdrantServer, tmp_path: Path, comparisons: list[str]) -> None:
    create_and_sync(5)
    made = make_from(snapshot(tmp_path))
    assert comparisons == []
    assert (made.acceptance.users, made.acceptance.points, made.removed, made.written) == (5, 5, 0, 0)
    assert differing() == 0
    with qdrant() as client:
        assert alias_target(client) == name(1)


@pytest.mark.parametrize(
    ("change", "removed", "written"),
    [
        ("DELETE FROM users WHERE id = %s", 1, 0),
        ("UPDATE users SET deleted_at = now() WHERE id = %s", 1, 0),
        ("UPDATE profile_embeddings SET vector = vector[2:] || vector[1:1] WHERE user_id = %s", 1, 1),
        ("UPDATE users SET date_of_birth = date_of_birth - 400 WHERE id = %s", 1, 1),
        ("", 0, 1),
    ],
    ids=["erased", "hidden", "other vector", "other age", "new"],
)
def test_different_points__are_made_equal_and_compared_again(
    change: str, removed: int, written: int, any_collection: QdrantServer, tmp_path: Path, comparisons: list[str]
) -> None:
    user, *_ = create_and_sync(5)
    path = snapshot(tmp_path)
    if change:
        ask(change, user)
    else:
        create_users(1)
    made = make_from(path)
    assert comparisons == [name(2)]
    assert (made.removed, made.written) == (removed, written)
    assert differing() == 0


def test_point_with_a_number__is_removed(collection: QdrantServer, tmp_path: Path, comparisons: list[str]) -> None:
    create_and_sync(3)
    with qdrant() as client:
        client.upsert(name(1), [models.PointStruct(id=7, vector=unit_vector(3), payload={})], wait=True)
    made = make_from(snapshot(tmp_path))
    assert (made.removed, made.written) == (1, 0)
    assert comparisons == [name(2)]
    assert differing() == 0


def test_upload__another_collection_was_created__is_refused(collection: QdrantServer, tmp_path: Path) -> None:
    create_and_sync(1)
    path = snapshot(tmp_path)
    with qdrant() as client:
        expected = next_name(client)
        client.create_collection(expected, vectors_config={})
        try:
            with pytest.raises(UserFacingError, match="Another process has created another collection"):
                upload_aside([path], name=expected)
        finally:
            client.delete_collection(expected)
    assert ask("SELECT count(*) FROM vector_collections") == [(1,)]
