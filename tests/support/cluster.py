"""Three Qdrant nodes on loopback that are one cluster; each can be killed and brought back."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.qdrant import QdrantServer, free_port, own_settings, program, ready, server_of, stop
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
        environment = {**os.environ, **{f"QDRANT__{name}": value for name, value in self.names.items()}}
        with (self.folder / "qdrant.log").open("ab") as log:
            self.process = subprocess.Popen(arguments, cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        assert ready(self.process, self.names), (self.folder / "qdrant.log").read_text()[-2000:]

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def ask(self, path: str) -> Any:
        return httpx.get(f"{self.address.url}{path}", timeout=10, trust_env=False).raise_for_status().json()["result"]


@contextmanager
def cluster(folder: Path) -> Iterator[list[Node]]:
    """The nodes, which all know one another. Skips where there is no program."""
    if program() is None:
        pytest.skip("they start servers of their own, and there is no program qdrant")
    nodes: list[Node] = []
    try:
        for number in range(NODES):
            nodes.append(Node(folder / f"node {number}", nodes[0] if nodes else None))
            nodes[-1].start()
        wait_for_nodes(lambda: all(len(node.ask("/cluster")["peers"]) == NODES for node in nodes))
        yield nodes
    finally:
        for node in nodes:
            if node.process is not None and node.process.poll() is None:
                stop(node.process)


def is_whole(nodes: list[Node], collection: str) -> bool:
    """Whether every replica of every shard is active, as each of the nodes sees it."""
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
