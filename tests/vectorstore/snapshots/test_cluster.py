"""A cluster of three nodes and three shards, each on two nodes. Every node has its own snapshots."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from django.db import connection
from pytest_django import Settings

from findme.core.errors import StoreUnavailable, UserFacingError
from tests.factories import ProfileEmbeddingFactory
from tests.support.cluster import Node, cluster, is_whole, wait_for_nodes
from tests.support.commands import manage
from tests.support.waiting import wait_until
from vectorstore.models import VectorCollection
from vectorstore.purge.purge import purge
from vectorstore.qdrant.connection import collection_name
from vectorstore.schema.initialize import compare, initialize
from vectorstore.snapshots.repository import create, fetch, list_snapshots, prune
from vectorstore.snapshots.restore import restore
from vectorstore.sync.worker import sync_once

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.qdrant_server]

USER_COUNT = 40


@pytest.fixture
def nodes(memory_path: Path, settings: Settings, db: None) -> Iterator[list[Node]]:
    with cluster(memory_path, settings, "users") as nodes:
        initialize()
        yield nodes


def points_of_every_node(nodes: list[Node], collection: str) -> set[str]:
    """Return the points of the collection. Every node returns the same."""
    answers = [points(node.address.url, collection) for node in nodes]
    assert answers == [answers[0]] * len(nodes)
    return answers[0]


def points(url: str, collection: str) -> set[str]:
    answer = httpx.post(f"{url}/collections/{collection}/points/scroll", json={"limit": 1000}, timeout=30, trust_env=False)
    return {point["id"] for point in answer.raise_for_status().json()["result"]["points"]}


def test_cluster__create_restore_and_purge__need_every_node(nodes: list[Node], tmp_path: Path) -> None:
    users = sorted(embedding.pk for embedding in ProfileEmbeddingFactory.create_batch(USER_COUNT))
    sync_once()
    urls = [node.address.url for node in nodes]
    with pytest.raises(
        UserFacingError,
        match=r"is a cluster of 3 nodes\. Name the REST URL of every node with --node\. Not named: ",
    ):
        create()
    with pytest.raises(UserFacingError, match=rf"Not named: the node with the cluster address {nodes[2].uri}/?\.$"):
        create(nodes=urls[:2])
    with pytest.raises(UserFacingError, match="is a cluster of 3 nodes"):
        purge()

    created = create(nodes=urls)
    assert {one.node for one in created} == set(urls)
    assert {one.name for one in list_snapshots(nodes=urls).snapshots} == {one.name for one in created}
    files = [fetch(one.name, tmp_path, nodes=urls).path for one in created]
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM users WHERE id = %s", [users[0]])
    sync_once()

    with pytest.raises(UserFacingError, match="of 3 nodes, but only 2 of their files are named"):
        restore(files[:2], nodes=urls)
    restored = restore(files, nodes=urls)
    assert (restored.removed, restored.written, restored.found) == (1, 0, USER_COUNT - 1)
    assert points_of_every_node(nodes, f"{collection_name()}_v2") == {str(user) for user in users[1:]}
    wait_for_nodes(lambda: is_whole(nodes, f"{collection_name()}_v2"))
    assert list(VectorCollection.objects.values_list("name", "state")) == [(f"{collection_name()}_v2", "live")]
    assert compare().differences == []

    purged = purge(nodes=urls, snapshots=True)
    (vacuumed,) = purged.collections
    assert (vacuumed.deleted, vacuumed.remaining) == (2, 0)
    assert {one.snapshot.name for one in purged.stale_snapshots if one.deleted} == {one.name for one in created}
    create(nodes=urls)
    assert len(prune(1, nodes=urls)) == 0
    assert compare().differences == []
    check_interruption_at_the_second_node(urls)
    check_without_a_node(nodes, tmp_path)


def check_interruption_at_the_second_node(urls: list[str]) -> None:
    before = list_snapshots(nodes=urls)
    wait_until(lambda: time.time() > before.snapshots[0].made_at.timestamp() + 2)  # Qdrant names snapshots by the second

    def report(restored: int, total: int | None = None, /) -> None:
        if restored == 1:
            assert len(list_snapshots(nodes=urls).snapshots) == len(before.snapshots) + 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        create(nodes=urls, report=report)
    assert list_snapshots(nodes=urls) == before


def check_without_a_node(nodes: list[Node], folder: Path) -> None:
    """Snapshots of the other nodes can still be listed and downloaded."""
    urls = [node.address.url for node in nodes]
    before = list_snapshots(nodes=urls).snapshots
    nodes[2].kill()
    silent = rf"^Nothing answers at --node '{re.escape(urls[2])}' \(.*\): start Qdrant, or correct --node\.$"
    found = list_snapshots(nodes=urls)
    assert found.snapshots == tuple(one for one in before if one.node != urls[2])
    assert [bool(re.fullmatch(silent, line)) for line in found.unavailable] == [True]
    for one in found.snapshots:
        assert fetch(one.name, folder, nodes=urls).size == one.size
    for missing in {one.name for one in before} - {one.name for one in found.snapshots}:
        with pytest.raises(StoreUnavailable, match=silent):
            fetch(missing, folder, nodes=urls)
    with pytest.raises(StoreUnavailable, match=silent):
        create(nodes=urls)
    with pytest.raises(UserFacingError, match="is a cluster of 3 nodes"):
        list_snapshots(nodes=urls[1:2])
    arguments = [argument for url in urls for argument in ("--node", url)]
    code, stdout, stderr = manage("qdrant_snapshot", "list", *arguments)
    assert (code, stderr) == (1, "")
    assert re.fullmatch(silent, stdout.splitlines()[-1])
    code, stdout, stderr = manage("qdrant_snapshot", "list", "--json", *arguments)
    assert (code, len(json.loads(stdout)["unavailable"]), stderr) == (1, 1, "")
