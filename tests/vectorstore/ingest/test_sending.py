"""Sending points after a load, by gRPC from two threads."""

from __future__ import annotations

import threading
from uuid import UUID, uuid4

import numpy as np
import pytest
from pytest_django import Settings

from benchmarks.users import give_embeddings, make_users
from findme.core.errors import StoreUnavailable
from tests.qdrant import QdrantServer
from vectorstore.ingest import sending
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.queue.entries import is_empty
from vectorstore.schema.initialize import initialize
from vectorstore.sync.results import BatchResult

USER_COUNT = 1000


@pytest.mark.qdrant_server
@pytest.mark.django_db(transaction=True)
def test_sync_users__writes_all_points_and_empties_the_queue(qdrant_server_grpc: QdrantServer) -> None:
    initialize()
    user_ids = make_users(USER_COUNT)
    give_embeddings(user_ids, np.random.default_rng(1).standard_normal((USER_COUNT, 512)).astype(np.float32))
    assert sending.sync_users(user_ids) == BatchResult(written=USER_COUNT)
    with qdrant() as client:
        assert client.count(collection_name()).count == USER_COUNT
    assert is_empty()


@pytest.mark.parametrize(
    ("url", "grpc_port", "count", "threads"), [("x", 1, 1000, 2), ("x", 1, 256, 1), ("x", 0, 1000, 1), ("", 1, 1000, 1)]
)
@pytest.mark.django_db
def test_sync_users__uses_threads_only_for_many_users_by_grpc(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, url: str, grpc_port: int, count: int, threads: int
) -> None:
    settings.QDRANT_URL, settings.QDRANT_GRPC_PORT = url, grpc_port
    all_threads, synced = threading.Barrier(threads, timeout=30), []

    def sync_users(user_ids: list[UUID]) -> BatchResult:
        all_threads.wait()  # no thread continues before all have started
        synced.extend(user_ids)
        return BatchResult(written=len(user_ids))

    monkeypatch.setattr("vectorstore.sync.inline.sync_users", sync_users)
    user_ids = [uuid4() for _ in range(count)]
    assert sending.sync_users(user_ids) == BatchResult(written=count)
    assert sorted(synced) == sorted(user_ids)


@pytest.mark.django_db
def test_sync_users__store_unavailable__is_reported(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.QDRANT_URL, settings.QDRANT_GRPC_PORT = "x", 1

    def sync_users(user_ids: list[UUID]) -> BatchResult:
        raise StoreUnavailable("Nothing answers.")

    monkeypatch.setattr("vectorstore.sync.inline.sync_users", sync_users)
    with pytest.raises(StoreUnavailable, match=r"^Nothing answers\.$"):
        sending.sync_users([uuid4() for _ in range(1000)])
