"""Adoption on a cluster of three nodes: every node has its own snapshots, and refuses upserts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from tests.factories import ProfileEmbeddingFactory
from tests.support.cluster import Node, cluster
from tests.support.commands import outcome
from tests.vectorstore.adoption.guide import VECTORS, fill, point
from tests.vectorstore.retention.unique_points import point_ids
from vectorstore.catalog import registry
from vectorstore.models import StoreState
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.snapshots.nodes import every_node
from vectorstore.snapshots.repository import snapshots_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.qdrant_server, pytest.mark.at_length, pytest.mark.long]


@pytest.fixture
def nodes(memory_path: Path, settings: Settings) -> Iterator[list[Node]]:
    with cluster(memory_path, settings, "users") as nodes:
        yield nodes


def test_adopt__cluster__needs_every_node_and_copies_every_shard(nodes: list[Node]) -> None:
    users = sorted(embedding.pk for embedding in ProfileEmbeddingFactory.create_batch(40))
    urls = [node.address.url for node in nodes]
    with qdrant() as client:
        client.create_collection(collection_name(), vectors_config=VECTORS, shard_number=3, replication_factor=2)
    fill(map(point, users))
    code, line = outcome("init_qdrant", "--adopt")
    assert (code, "is a cluster of 3 nodes. Name the REST URL of every node with --node." in line) == (2, True)
    named = [argument for url in urls for argument in ("--node", url)]
    assert outcome("init_qdrant", "--adopt", *named, "--wait", "120") == (0, "")
    assert point_ids() == point_ids(registry.copy_name()) == set(map(str, users))
    with qdrant() as client:
        servers = every_node(client, urls)
    assert [one.name for node in servers for one in snapshots_of(node, registry.copy_name())] == []
    assert (StoreState.current().saved_settings, StoreState.current().downloads) == ({}, [])
