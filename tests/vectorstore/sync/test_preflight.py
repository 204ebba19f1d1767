"""Preflight checks of a worker (protocol rules 8 and 9).

A secondary collection does not block them (rule 10).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from django.contrib.postgres.functions import TransactionNow
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from findme.core.errors import StoreUnavailable, UserFacingError
from tests.factories import ProfileEmbeddingFactory
from tests.support.secondary import collections_locked, secondary, state_of
from vectorstore.catalog import registry
from vectorstore.catalog.ownership import DATABASE, ForeignCollection, database_id
from vectorstore.consistency import preflight
from vectorstore.consistency.versions import last_allocated
from vectorstore.models import StoreState, VectorCollection
from vectorstore.qdrant.connection import collection_name, note_outage, qdrant
from vectorstore.qdrant.errors import CollectionNotFound, RestoreDetected, ServerError
from vectorstore.schema.initialize import initialize
from vectorstore.sync.worker import sync_once
from vectorstore.verification.verify import verify

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.qdrant_server]

State = VectorCollection.State
OTHER_DATABASE = "5f0c1f0e-0000-4000-8000-000000000000"
SERVER_ERROR = UnexpectedResponse(500, "", b'{"status": {"error": "no"}}', httpx.Headers())
TIMEOUT = ResponseHandlingException(httpx.ReadTimeout(""))


def check_stores() -> None:
    with qdrant() as client:
        preflight.check_stores(client)


def fail_at(monkeypatch: pytest.MonkeyPatch, method: str, name: str, error: Exception) -> None:
    original = getattr(QdrantClient, method)

    def fail_or_call(client: QdrantClient, collection: str, *arguments: Any, **options: Any) -> Any:
        if collection == name:
            raise error
        return original(client, collection, *arguments, **options)

    monkeypatch.setattr(QdrantClient, method, fail_or_call)


@pytest.mark.parametrize("method", ["get_collection", "scroll", "update_collection"])
@pytest.mark.parametrize("state", [State.BUILDING, State.RETAINED])
def test_check_stores__failing_secondary__is_marked_failed(
    server_collection: str, monkeypatch: pytest.MonkeyPatch, method: str, state: VectorCollection.State
) -> None:
    name = secondary(state)
    fail_at(monkeypatch, method, name, SERVER_ERROR)
    check_stores()
    assert state_of(name)[0] == State.FAILED
    assert "answered 500 (no)" in state_of(name)[1]
    assert StoreState.current().checkpoint is not None


@pytest.mark.parametrize("method", ["get_collection", "update_collection"])
def test_check_stores__repeated_timeouts_of_a_secondary__marks_it_failed(
    server_collection: str, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """This also holds for a collection that answers reads."""
    name = secondary(State.RETAINED)
    fail_at(monkeypatch, method, name, TIMEOUT)
    for _ in range(4):
        with pytest.raises(StoreUnavailable, match="did not answer within"):
            check_stores()
        note_outage()
    assert state_of(name) == (State.RETAINED, "")
    check_stores()
    assert state_of(name)[0] == State.FAILED


def test_check_stores__live_collection_times_out__marks_no_secondary_failed(
    server_collection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_stores()
    name = secondary(State.BUILDING)
    for timing_out in (name, f"{collection_name()}_v1"):
        fail_at(monkeypatch, "get_collection", timing_out, TIMEOUT)
    for _ in range(6):
        with pytest.raises(StoreUnavailable):
            check_stores()
    assert state_of(name) == (State.BUILDING, "")


@pytest.mark.parametrize("method", ["get_collection", "scroll"])
def test_check_stores__failing_live_collection__stays_live(server_collection: str, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    fail_at(monkeypatch, method, f"{collection_name()}_v1", SERVER_ERROR)
    with pytest.raises(ServerError):
        check_stores()
    assert registry.live() == f"{collection_name()}_v1"


@pytest.mark.parametrize("owner", [OTHER_DATABASE, None])
@pytest.mark.parametrize("state", [State.RETAINED, State.READY])
def test_check_stores__foreign_secondary__is_marked_failed(
    server_collection: str, state: VectorCollection.State, owner: str | None
) -> None:
    """The collection is not deleted, and no later step adopts it."""
    name = secondary(state)
    VectorCollection.objects.filter(pk=name).update(live_since=TransactionNow())
    with qdrant() as client:
        client.upsert(name, [models.PointStruct(id=1, vector=[1.0] * 512)])
        client.update_collection(name, metadata={DATABASE: owner})
    check_stores()
    assert state_of(name)[0] == State.FAILED
    assert state_of(name)[1].startswith(f"The collection {name!r} ")
    sync_once(timeout=60)
    with qdrant() as client:
        assert client.collection_exists(name)
    assert not VectorCollection.objects.filter(pk=name).exists()


def test_check_stores__foreign_live_collection__marks_no_secondary_failed(server_collection: str) -> None:
    retained = secondary(State.RETAINED)
    StoreState.objects.update(database_id=OTHER_DATABASE)
    with pytest.raises(ForeignCollection, match=r"_v1' belongs to another database"):
        check_stores()
    assert state_of(retained) == (State.RETAINED, "")


@pytest.mark.parametrize("error", [SERVER_ERROR, TIMEOUT], ids=["failed", "silent"])
def test_check_stores__checkpoint_cannot_be_renewed__writing_continues(
    server_collection: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    """This happens on a cluster that has lost too many nodes.

    The checkpoint is still compared and the error is logged once. The renewal is repeated later, not with each batch.
    """
    with monkeypatch.context() as patched:
        fail_at(patched, "update_collection", f"{collection_name()}_v1", error)
        check_stores()
        begun_checkpoint = StoreState.current().pending_checkpoint["id"]
        patched.setattr(preflight, "renew_checkpoint", lambda _client: pytest.fail("too early"))
        check_stores()
    with monkeypatch.context() as patched:
        fail_at(patched, "update_collection", f"{collection_name()}_v1", error)
        make_retry_due(patched)
        check_stores()
    assert [record.message.partition(": ")[0] for record in caplog.records] == [
        "The checkpoint was compared and could not be renewed. The renewal is repeated every 30 s"
    ]
    make_retry_due(monkeypatch)
    check_stores()
    assert (StoreState.current().checkpoint["id"], StoreState.current().pending_checkpoint) == (begun_checkpoint, None)
    caplog.clear()


def make_retry_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "_renewal_retries", dict.fromkeys(preflight._renewal_retries, 0.0))


def test_check_stores__checkpoint_cannot_be_renewed__restored_store_is_still_reported(
    server_collection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_stores()
    fail_at(monkeypatch, "update_collection", f"{collection_name()}_v1", SERVER_ERROR)
    StoreState.objects.update(checkpoint_at=None)
    with qdrant() as client:
        client.upsert(f"{collection_name()}_v1", [models.PointStruct(id=1, vector=[1.0] * 512, payload={"version": last_allocated() + 5})])
    with pytest.raises(RestoreDetected):
        check_stores()


def move_alias_to_unknown_collection() -> str:
    """Move the alias by hand to a collection that PostgreSQL does not know."""
    name = f"{collection_name()}_v7"
    vectors = models.VectorParams(size=512, distance=models.Distance.COSINE)
    with qdrant() as client:
        client.create_collection(name, vectors_config=vectors, metadata={DATABASE: database_id()})
    point_alias_to(name)
    return name


def point_alias_to(name: str) -> None:
    with qdrant() as client:
        operations: list[
            models.CreateAliasOperation | models.RenameAliasOperation | models.DeleteAliasOperation | models.AliasOperations
        ] = [
            models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=collection_name())),
            models.CreateAliasOperation(create_alias=models.CreateAlias(alias_name=collection_name(), collection_name=name)),
        ]
        client.update_collection_aliases(operations)


def delete_alias() -> None:
    with qdrant() as client:
        operation = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=collection_name()))
        client.update_collection_aliases([operation])


def test_check_stores__alias_moved_by_hand__is_reported(server_collection: str) -> None:
    """It is reported at the latest when the checkpoint is due. init_qdrant repairs it."""
    check_stores()
    name = move_alias_to_unknown_collection()
    line = (
        f"The alias {collection_name()!r} points to {name!r}, which PostgreSQL does not know, so it receives no writes: run manage.py"
        " init_qdrant, which registers it and queues all users, or move the alias back."
    )
    check_stores()
    StoreState.objects.update(checkpoint_at=None)
    with pytest.raises(UserFacingError) as raised:
        check_stores()
    assert str(raised.value) == line
    with pytest.raises(UserFacingError) as raised:
        verify()
    assert str(raised.value) == line
    note_outage()
    with pytest.raises(UserFacingError) as raised:
        sync_once()
    assert str(raised.value) == line
    initialize()
    assert registry.live() == name
    check_stores()


@pytest.mark.parametrize("compare", [check_stores, verify])
def test_check_stores__alias_moved_by_hand_to_a_failed_collection__is_followed(
    server_collection: str, compare: Callable[[], object]
) -> None:
    """All searches use that collection. The worker follows the alias even if it is never idle."""
    ProfileEmbeddingFactory.create()
    sync_once(timeout=60)
    name = secondary(State.FAILED)
    point_alias_to(name)
    StoreState.objects.update(checkpoint_at=None)
    compare()
    assert registry.live() == name
    sync_once(timeout=60)
    searched = verify().collections[0]
    assert (searched.name, searched.points, searched.differing) == (name, 1, 0)


def test_check_stores__deleted_alias__is_reported(server_collection: str) -> None:
    check_stores()
    delete_alias()
    StoreState.objects.update(checkpoint_at=None)
    with pytest.raises(CollectionNotFound, match=r"manage\.py init_qdrant"):
        check_stores()


def test_check_stores__alias_being_moved_by_another_process__passes(server_collection: str) -> None:
    delete_alias()
    with collections_locked():
        check_stores()
