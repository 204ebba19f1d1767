"""A Qdrant cluster of three nodes at loopback ports. Each node can be killed and started again."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pytest_django import Settings

from tests.qdrant import QdrantServer, free_port, launch, own_settings, program, ready, server_of, stop
from tests.support.waiting import wait_until

NODES = 3


class Node:
    def __init__(self, folder: Path, first: Node | None) -> None:
        folder.mkdir()
        self.folder, self.first, self.peer_port = folder, first, free_port()
        self.names = own_settings(folder) | {"CLUSTER__ENABLED": "true", "CLUSTER__P2P__PORT": str(self.peer_port)}
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.peer_port}"

    @property
    def address(self) -> QdrantServer:
        return server_of(self.names, None)

    def start(self) -> None:
        path = program()
        assert path is not None
        arguments = [path, "--uri", self.uri, *(["--bootstrap", self.first.uri] if self.first else [])]
        self.process = launch(self.folder, self.names, *arguments)
        assert ready(self.process, self.names), (self.folder / "qdrant.log").read_text()[-2000:]

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def ask(self, path: str) -> Any:
        return httpx.get(f"{self.address.url}{path}", timeout=30, trust_env=False).raise_for_status().json()["result"]


@contextmanager
def cluster(folder: Path, settings: Settings, alias: str) -> Iterator[list[Node]]:
    """Start the nodes, and wait until each knows the others. Skip the test if there is no program ``qdrant``.

    The settings name the first node, three shards, and two replicas of each.
    """
    if program() is None:
        pytest.skip("the test starts a Qdrant server, and there is no program qdrant")
    nodes: list[Node] = []
    try:
        for number in range(NODES):
            nodes.append(Node(folder / f"node {number}", nodes[0] if nodes else None))
            nodes[-1].start()
        wait_for_nodes(lambda: all(len(node.ask("/cluster")["peers"]) == NODES for node in nodes))
        settings.QDRANT_URL, settings.QDRANT_API_KEY, settings.QDRANT_GRPC_PORT = nodes[0].address.url, "", 0
        settings.QDRANT_COLLECTION, settings.QDRANT_SHARD_NUMBER, settings.QDRANT_REPLICATION_FACTOR = alias, 3, 2
        yield nodes
    finally:
        for node in nodes:
            if node.process is not None and node.process.poll() is None:
                stop(node.process)


def is_whole(nodes: list[Node], collection: str) -> bool:
    """Return whether each node reports every replica of every shard as active."""
    return all(set(_states(node, collection)) == {"Active"} for node in nodes)


def _states(node: Node, collection: str) -> Iterator[str]:
    found = node.ask(f"/collections/{collection}/cluster")
    for shard in (*found["local_shards"], *found["remote_shards"]):
        yield shard["state"]


def wait_for_nodes(condition: Callable[[], bool]) -> None:
    """Wait until the condition is true. It is false as long as a node does not answer."""

    def is_true() -> bool:
        try:
            return condition()
        except httpx.HTTPError:
            return False

    wait_until(is_true, "The cluster", poll_seconds=0.1)
