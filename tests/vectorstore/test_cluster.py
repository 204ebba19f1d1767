"""Sync, search and verification on a Qdrant cluster of three nodes and three shards, with two replicas each."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from accounts.models import User
from findme.core.errors import StoreUnavailable
from tests.factories import ProfileEmbeddingFactory
from tests.support.cluster import Node, cluster, is_whole, wait_for_nodes
from tests.support.threads import in_thread
from tests.vectorstore.storm.agreement import disagreements
from vectorstore.models import ProfileEmbedding
from vectorstore.qdrant.connection import qdrant
from vectorstore.rebuild.reindex import reindex
from vectorstore.schema.initialize import initialize
from vectorstore.search.criteria import SearchQuery
from vectorstore.search.engine import search
from vectorstore.sync.worker import sync_once
from vectorstore.verification.verify import verify

pytestmark = [pytest.mark.qdrant_server, pytest.mark.long, pytest.mark.django_db(transaction=True)]

ALIAS = "findme_on_a_cluster"


@pytest.fixture
def nodes(memory_path: Path, settings: Settings) -> Iterator[list[Node]]:
    settings.QDRANT_TIMEOUT, settings.SYNC_LEASE_SECONDS = 10.0, 30.0
    with cluster(memory_path, settings, ALIAS) as nodes:
        yield nodes


def test_cluster__node_dies_during_a_sync_and_returns__all_replicas_agree_with_postgresql(nodes: list[Node]) -> None:
    initialize()
    shards = nodes[0].ask(f"/collections/{ALIAS}/cluster")
    assert len(shards["local_shards"]) + len(shards["remote_shards"]) == 6
    ProfileEmbeddingFactory.create_batch(40)
    sync_once(batch_size=8)

    syncing = threading.Event()
    over = threading.Event()

    def sync_until_over() -> None:
        while not over.is_set():
            sync_once(batch_size=2, timeout=60)
            syncing.set()

    worker = in_thread(sync_until_over)
    try:
        assert syncing.wait(60)
        ProfileEmbeddingFactory.create_batch(20)
        nodes[2].kill()
        ProfileEmbeddingFactory.create_batch(20)
        for user in User.objects.order_by("pk")[:10]:
            user.delete()
    finally:
        over.set()
        worker.result()
    assert sync_once(timeout=60).remaining.length == 0

    assert_equal_to_postgresql(nodes[:2])
    assert verify().clean
    embedding = ProfileEmbedding.objects.order_by("pk")[0]
    hits = search(SearchQuery(vector=embedding.vector, limit=100))
    assert {hit.user_id for hit in hits} == set(ProfileEmbedding.objects.values_list("pk", flat=True))
    assert_rebuild_is_refused()

    nodes[2].start()
    wait_for_nodes(lambda: is_whole(nodes, ALIAS))
    assert sync_once(timeout=60).remaining.length == 0
    assert_equal_to_postgresql(nodes)
    assert verify().clean


def assert_equal_to_postgresql(nodes: list[Node]) -> None:
    """Compare every replica with PostgreSQL: a node answers from its own replica of a shard."""
    for node in nodes:
        assert disagreements(node.address, ALIAS) == []


def assert_rebuild_is_refused() -> None:
    """A rebuild is refused at once. Creating a collection would wait for the dead node until the request times out."""
    with pytest.raises(StoreUnavailable, match="the Qdrant cluster"):
        reindex()
    with qdrant() as client:
        assert [collection.name for collection in client.get_collections().collections] == [f"{ALIAS}_v1"]
