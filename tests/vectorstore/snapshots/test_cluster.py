"""On three nodes with three shards, each on two of them: every node has snapshots of its own."""

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
from tests.support.commands import manage
from tests.support.waiting import wait_until
from tests.vectorstore.cluster import Node, cluster, is_whole, wait_for_nodes
from vectorstore.models import VectorCollection
from vectorstore.purge.purge import purge
from vectorstore.qdrant.connection import collection_name
from vectorstore.schema.initialize import compare, initialize
from vectorstore.snapshots.repository import create, fetch, list_snapshots, prune
from vectorstore.snapshots.restore import restore
from vectorstore.sync.worker import sync_once

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.qdrant_server]

PEOPLE = 40


@pytest.fixture
def nodes(memory_path: Path, settings: Settings, db: None) -> Iterator[list[Node]]:
    with cluster(memory_path) as nodes:
        settings.QDRANT_URL, settings.QDRANT_API_KEY, settings.QDRANT_GRPC_PORT = nodes[0].address.url, "", 0
        settings.QDRANT_COLLECTION = "people"
        settings.QDRANT_SHARD_NUMBER, settings.QDRANT_REPLICATION_FACTOR = 3, 2
        initialize()
        yield nodes


def of_every(nodes: list[Node], collection: str) -> set[str]:
    """The points that each node answers with, which are the same."""
    answers = [points(node.address.url, collection) for node in nodes]
    assert answers == [answers[0]] * len(nodes)
    return answers[0]


def points(url: str, collection: str) -> set[str]:
    answer = httpx.post(f"{url}/collections/{collection}/points/scroll", json={"limit": 1000}, timeout=30, trust_env=False)
    return {point["id"] for point in answer.raise_for_status().json()["result"]["points"]}


def test_a_cluster(nodes: list[Node], tmp_path: Path) -> None:
    people = sorted(embedding.pk for embedding in ProfileEmbeddingFactory.create_batch(PEOPLE))
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

    made = create(nodes=urls)
    assert {one.node for one in made} == set(urls)
    assert {one.name for one in list_snapshots(nodes=urls).snapshots} == {one.name for one in made}
    files = [fetch(one.name, tmp_path, nodes=urls).path for one in made]
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM users WHERE id = %s", [people[0]])
    sync_once()

    with pytest.raises(UserFacingError, match="of 3 nodes, but only 2 of their files are named"):
        restore(files[:2], nodes=urls)
    done = restore(files, nodes=urls)
    assert (done.removed, done.written, done.found) == (1, 0, PEOPLE - 1)
    assert of_every(nodes, f"{collection_name()}_v2") == {str(person) for person in people[1:]}
    wait_for_nodes(lambda: is_whole(nodes, f"{collection_name()}_v2"))
    assert list(VectorCollection.objects.values_list("name", "state")) == [(f"{collection_name()}_v2", "live")]
    assert compare().differences == []

    purged = purge(nodes=urls, snapshots=True)
    (vacuumed,) = purged.collections
    assert (vacuumed.deleted, vacuumed.remaining) == (2, 0)
    assert {one.snapshot.name for one in purged.stale_snapshots if one.deleted} == {one.name for one in made}
    create(nodes=urls)
    assert len(prune(1, nodes=urls)) == 0
    assert compare().differences == []
    interrupted_at_the_second_node(urls)
    without_a_node(nodes, tmp_path)


def interrupted_at_the_second_node(urls: list[str]) -> None:
    before = list_snapshots(nodes=urls)
    wait_until(lambda: time.time() > before.snapshots[0].made_at.timestamp() + 2)  # two of a second would have one name

    def report(done: int, total: int | None = None, /) -> None:
        if done == 1:
            assert len(list_snapshots(nodes=urls).snapshots) == len(before.snapshots) + 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        create(nodes=urls, report=report)
    assert list_snapshots(nodes=urls) == before


def without_a_node(nodes: list[Node], folder: Path) -> None:
    """What is on the others can be listed and fetched."""
    urls = [node.address.url for node in nodes]
    before = list_snapshots(nodes=urls).snapshots
    nodes[2].kill()
    silent = rf"^Nothing answers at --node '{re.escape(urls[2])}' \(.*\): start Qdrant, or correct --node\.$"
    found = list_snapshots(nodes=urls)
    assert found.snapshots == tuple(one for one in before if one.node != urls[2])
    assert [bool(re.fullmatch(silent, line)) for line in found.unavailable] == [True]
    for one in found.snapshots:
        assert fetch(one.name, folder, nodes=urls).size == one.size
    for theirs in {one.name for one in before} - {one.name for one in found.snapshots}:
        with pytest.raises(StoreUnavailable, match=silent):
            fetch(theirs, folder, nodes=urls)
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
