"""A rebuild on a cluster, and what it refuses there while a node is away."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from pytest_django import Settings

from findme.console.errors import StoreUnavailable
from tests.vectorstore.cluster import cluster, is_whole, wait_until
from tests.vectorstore.rebuild.collections import begun, leads_to, states, there, version, wrong
from vectorstore.connection import qdrant
from vectorstore.rebuild.nodes import refuse_without_a_node
from vectorstore.rebuild.reindex import reindex

pytestmark = [pytest.mark.qdrant_server, pytest.mark.django_db(transaction=True)]


def is_refused() -> bool:
    try:
        with qdrant() as client:
            refuse_without_a_node(client)
    except StoreUnavailable:
        return True
    return False


def test_reindex__on_a_cluster_with_and_without_one_of_its_nodes(memory_path: Path, settings: Settings) -> None:
    with cluster(memory_path) as nodes:
        settings.QDRANT_URL, settings.QDRANT_API_KEY, settings.QDRANT_GRPC_PORT = nodes[0].address.url, "", 0
        settings.QDRANT_COLLECTION = "findme_rebuilt_on_a_cluster"
        settings.QDRANT_SHARD_NUMBER, settings.QDRANT_REPLICATION_FACTOR = 3, 2
        begun(5)
        assert reindex(announce=lambda _: None).written == 5
        nodes[2].kill()
        wait_until(is_refused)
        started = time.monotonic()
        with pytest.raises(StoreUnavailable) as refused:
            reindex(announce=lambda _: None)
        assert time.monotonic() - started < settings.QDRANT_TIMEOUT
        assert str(refused.value).endswith("Nothing was begun.")
        assert nodes[2].uri.rstrip("/") in str(refused.value) or "replicas" in str(refused.value)
        assert (leads_to(), states(), there()) == ("v2", {"v2": "live"}, {"v2"})

        nodes[2].start()
        wait_until(lambda: is_whole(nodes, version(2)) and not is_refused())
        assert reindex(announce=lambda _: None).written == 5
        assert (leads_to(), states(), there(), wrong(3)) == ("v3", {"v3": "live"}, {"v3"}, {})
        assert is_whole(nodes, version(3))
