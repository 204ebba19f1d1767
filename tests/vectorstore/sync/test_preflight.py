"""What a worker proves before it writes (protocol, rules 8 and 9), and that a secondary collection does not keep it from it (rule 10)."""

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
from tests.vectorstore.secondary import collections_locked, secondary, state_of
from vectorstore.catalog import registry
from vectorstore.catalog.ownership import DATABASE, ForeignCollection, database_id
from vectorstore.consistency import preflight
from vectorstore.consistency.versions import last_allocated
from vectorstore.models import StoreState, VectorCollection
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.qdrant.errors import CollectionNotFound, RestoreDetected, ServerError
from vectorstore.schema.initialize import initialize
from vectorstore.sync.worker import sync_once
from vectorstore.verification.verify import verify

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.qdrant_server]

State = VectorCollection.State
ANOTHER = "5f0c1f0e-0000-4000-8000-000000000000"
FAILED = UnexpectedResponse(500, "", b'{"status": {"error": "no"}}', httpx.Headers())
SILENT = ResponseHandlingException(httpx.ReadTimeout(""))


def prove() -> None:
    with qdrant() as client:
        preflight.check_stores(client)


def fail_at(monkeypatch: pytest.MonkeyPatch, method: str, name: str, error: Exception) -> None:
    done = getattr(QdrantClient, method)

    def failing(client: QdrantClient, collection: str, *arguments: Any, **options: Any) -> Any:
        if collection == name:
            raise error
        return done(client, collection, *arguments, **options)

    monkeypatch.setattr(QdrantClient, method, failing)


@pytest.mark.parametrize("method", ["get_collection", "scroll", "update_collection"])
@pytest.mark.parametrize("state", [State.BUILDING, State.RETAINED])
def test_check_stores__a_secondary_that_fails_is_marked_failed(
    server_collection: str, monkeypatch: pytest.MonkeyPatch, method: str, state: VectorCollection.State
) -> None:
    name = secondary(state)
    fail_at(monkeypatch, method, name, FAILED)
    prove()
    assert state_of(name)[0] == State.FAILED
    assert "answered 500 (no)" in state_of(name)[1]
    assert StoreState.current().checkpoint is not None


@pytest.mark.parametrize("method", ["get_collection", "update_collection"])
def test_check_stores__one_that_is_silent_again_and_again_is_marked_failed(
    server_collection: str, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Also one that answers when it is read."""
    name = secondary(State.RETAINED)
    fail_at(monkeypatch, method, name, SILENT)
    for _ in range(4):
        with pytest.raises(StoreUnavailable, match="did not answer within"):
            prove()
        preflight.invalidate()
    assert state_of(name) == (State.RETAINED, "")
    prove()
    assert state_of(name)[0] == State.FAILED


def test_check_stores__silence_of_the_live_one_is_no_reason_to_mark_another_failed(
    server_collection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prove()
    name = secondary(State.BUILDING)
    for silent in (name, f"{collection_name()}_v1"):
        fail_at(monkeypatch, "get_collection", silent, SILENT)
    for _ in range(6):
        with pytest.raises(StoreUnavailable):
            prove()
    assert state_of(name) == (State.BUILDING, "")


@pytest.mark.parametrize("method", ["get_collection", "scroll"])
def test_check_stores__the_live_one_that_fails_stays(server_collection: str, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    fail_at(monkeypatch, method, f"{collection_name()}_v1", FAILED)
    with pytest.raises(ServerError):
        prove()
    assert registry.live() == f"{collection_name()}_v1"


@pytest.mark.parametrize("owner", [ANOTHER, None])
@pytest.mark.parametrize("state", [State.RETAINED, State.READY])
def test_check_stores__a_secondary_that_is_not_ours_is_marked_failed(
    server_collection: str, state: VectorCollection.State, owner: str | None
) -> None:
    """And left where it is: no step of ours makes it ours again."""
    name = secondary(state)
    VectorCollection.objects.filter(pk=name).update(live_since=TransactionNow())
    with qdrant() as client:
        client.upsert(name, [models.PointStruct(id=1, vector=[1.0] * 512)])
        client.update_collection(name, metadata={DATABASE: owner})
    prove()
    assert state_of(name)[0] == State.FAILED
    assert state_of(name)[1].startswith(f"The collection {name!r} ")
    sync_once(timeout=60)
    with qdrant() as client:
        assert client.collection_exists(name)
    assert not VectorCollection.objects.filter(pk=name).exists()


def test_check_stores__the_live_one_that_is_not_ours_is_the_reason_to_mark_none_failed(server_collection: str) -> None:
    retained = secondary(State.RETAINED)
    StoreState.objects.update(database_id=ANOTHER)
    with pytest.raises(ForeignCollection, match=r"_v1' belongs to another database"):
        prove()
    assert state_of(retained) == (State.RETAINED, "")


@pytest.mark.parametrize("error", [FAILED, SILENT], ids=["failed", "silent"])
def test_check_stores__where_the_checkpoint_cannot_be_renewed_writing_goes_on(
    server_collection: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    """As on a cluster that has lost too many nodes: it is compared all the same, said once, and tried again some time later, not with each batch."""
    with monkeypatch.context() as patched:
        fail_at(patched, "update_collection", f"{collection_name()}_v1", error)
        prove()
        begun = StoreState.current().pending_checkpoint["id"]
        patched.setattr(preflight, "renew_checkpoint", lambda _client: pytest.fail("too early"))
        prove()
    with monkeypatch.context() as patched:
        fail_at(patched, "update_collection", f"{collection_name()}_v1", error)
        it_is_time(patched)
        prove()
    assert [record.message.partition(": ")[0] for record in caplog.records] == [
        "The checkpoint was compared and could not be renewed. The renewal is repeated every 30 s"
    ]
    it_is_time(monkeypatch)
    prove()
    assert (StoreState.current().checkpoint["id"], StoreState.current().pending_checkpoint) == (begun, None)
    caplog.clear()


def it_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "_renewal_retries", dict.fromkeys(preflight._renewal_retries, 0.0))


def test_check_stores__a_restored_store_is_reported_though_the_checkpoint_could_not_be_renewed(
    server_collection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prove()
    fail_at(monkeypatch, "update_collection", f"{collection_name()}_v1", FAILED)
    StoreState.objects.update(checkpoint_at=None)
    with qdrant() as client:
        client.upsert(f"{collection_name()}_v1", [models.PointStruct(id=1, vector=[1.0] * 512, payload={"version": last_allocated() + 5})])
    with pytest.raises(RestoreDetected):
        prove()


def lead_elsewhere() -> str:
    """Move the alias by hand to a collection that PostgreSQL does not know."""
    name = f"{collection_name()}_v7"
    vectors = models.VectorParams(size=512, distance=models.Distance.COSINE)
    with qdrant() as client:
        client.create_collection(name, vectors_config=vectors, metadata={DATABASE: database_id()})
    lead_to(name)
    return name


def lead_to(name: str) -> None:
    with qdrant() as client:
        switched: list[models.CreateAliasOperation | models.RenameAliasOperation | models.DeleteAliasOperation | models.AliasOperations] = [
            models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=collection_name())),
            models.CreateAliasOperation(create_alias=models.CreateAlias(alias_name=collection_name(), collection_name=name)),
        ]
        client.update_collection_aliases(switched)


def delete_the_alias() -> None:
    with qdrant() as client:
        operation = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=collection_name()))
        client.update_collection_aliases([operation])


def test_check_stores__an_alias_that_was_moved_by_hand_is_reported(server_collection: str) -> None:
    """At the latest when the checkpoint is due; and init_qdrant mends it."""
    prove()
    name = lead_elsewhere()
    line = (
        f"The alias {collection_name()!r} points to {name!r}, which PostgreSQL does not know, so it receives no writes: run manage.py"
        " init_qdrant, which registers it and queues all users, or move the alias back."
    )
    prove()
    StoreState.objects.update(checkpoint_at=None)
    with pytest.raises(UserFacingError) as raised:
        prove()
    assert str(raised.value) == line
    with pytest.raises(UserFacingError) as raised:
        verify()
    assert str(raised.value) == line
    preflight.invalidate()
    with pytest.raises(UserFacingError) as raised:
        sync_once()
    assert str(raised.value) == line
    initialize()
    assert registry.live() == name
    prove()


@pytest.mark.parametrize("look", [prove, verify])
def test_check_stores__an_alias_that_was_moved_by_hand_to_one_that_was_marked_failed_is_followed(
    server_collection: str, look: Callable[[], object]
) -> None:
    """It is what everybody searches; and a worker with much to do is never idle."""
    ProfileEmbeddingFactory.create()
    sync_once(timeout=60)
    name = secondary(State.FAILED)
    lead_to(name)
    StoreState.objects.update(checkpoint_at=None)
    look()
    assert registry.live() == name
    sync_once(timeout=60)
    searched = verify().collections[0]
    assert (searched.name, searched.points, searched.differing) == (name, 1, 0)


def test_check_stores__an_alias_that_was_deleted_is_reported(server_collection: str) -> None:
    prove()
    delete_the_alias()
    StoreState.objects.update(checkpoint_at=None)
    with pytest.raises(CollectionNotFound, match=r"manage\.py init_qdrant"):
        prove()


def test_check_stores__an_alias_that_is_just_being_moved_is_none_of_a_workers_business(server_collection: str) -> None:
    delete_the_alias()
    with collections_locked():
        prove()
