"""The Qdrant servers that store the collections: one server, or every node of a cluster.

Each node makes, stores and restores its own snapshots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from qdrant_client import QdrantClient
from qdrant_client.models import ClusterStatusOneOf1

from findme.core.errors import StoreUnavailable, UserFacingError
from vectorstore.qdrant.address import Address, server_address
from vectorstore.qdrant.connection import collection_name, is_embedded
from vectorstore.qdrant.errors import translate_server_errors
from vectorstore.qdrant.server import client_of


@dataclass(frozen=True, slots=True)
class Node:
    """One server. ``peer_id`` is 0 for a server that is not part of a cluster."""

    peer_id: int
    address: Address

    @property
    def client(self) -> QdrantClient:
        """Return the process's client for this server. Raises StoreUnavailable."""
        return client_of(self.address, collection_name())


def refuse_embedded(what: str) -> None:
    """Raise UserFacingError for the embedded store. Only a server has ``what``, for example "snapshots"."""
    if is_embedded():
        raise UserFacingError(f"The embedded vector store has no {what}. Set QDRANT_URL to a Qdrant server.")


def every_node(client: QdrantClient, urls: Sequence[str]) -> tuple[Node, ...]:
    """Return the server at QDRANT_URL, or the nodes of its cluster at ``urls``.

    A cluster reports the addresses that its nodes use among themselves, not their REST addresses. So ``urls`` must name every node, and each
    node is asked for its peer id. Raises UserFacingError for an incomplete set, StoreUnavailable for a node that does not answer.
    """
    nodes, unavailable = nodes_that_answer(client, urls)
    for error in unavailable:
        raise error
    return nodes


def nodes_that_answer(client: QdrantClient, urls: Sequence[str]) -> tuple[tuple[Node, ...], tuple[StoreUnavailable, ...]]:
    """Return the nodes that answer, and an error for each node that does not. See ``every_node``."""
    status = client.cluster_status()
    peers = {int(peer): known.uri for peer, known in status.peers.items()} if isinstance(status, ClusterStatusOneOf1) else {}
    if len(peers) <= 1:
        if urls:
            raise UserFacingError(f"--node {urls[0]!r} is for a cluster, but Qdrant at {server_address()} is a single server. Omit --node.")
        return (Node(next(iter(peers), 0), server_address()),), ()
    nodes: list[Node] = []
    unavailable: list[StoreUnavailable] = []
    for url in dict.fromkeys(urls):
        try:
            nodes.append(_node_at(url, peers))
        except StoreUnavailable as error:
            unavailable.append(error)
    return _require_all_named(nodes, len(unavailable), peers), tuple(unavailable)


def version_of(node: Node) -> tuple[int, int]:
    """Return the server's version, major and minor. Raises StoreUnavailable."""
    major, minor, *_ = server_version(node).split(".")
    return int(major), int(minor)


def server_version(node: Node) -> str:
    """Return the server's version as it reports it, such as ``1.18.3``. Raises StoreUnavailable."""
    with translate_server_errors(node.address):
        return node.client.http.service_api.root().version


def local_shards(node: Node, collection: str) -> set[int]:
    """Return the ids of the collection's shards on this server. Raises StoreUnavailable."""
    with translate_server_errors(node.address):
        return {shard.shard_id for shard in node.client.collection_cluster_info(collection).local_shards}


def _node_at(url: str, peers: dict[int, str]) -> Node:
    if "@" in url or not url.startswith(("http://", "https://")):
        raise UserFacingError("A --node is not a URL like http://HOST:PORT or https://HOST:PORT, or it contains a password. Correct it.")
    node = Node(0, replace(server_address(), url=url, grpc_port=0))
    try:
        with translate_server_errors(node.address):
            status = node.client.cluster_status()
    except StoreUnavailable as error:
        raise StoreUnavailable(str(error).replace("QDRANT_URL", "--node")) from error
    if not isinstance(status, ClusterStatusOneOf1) or status.peer_id not in peers:
        raise UserFacingError(f"The server at --node {url!r} is not a node of the cluster at {server_address()}. Correct the URL.")
    return replace(node, peer_id=status.peer_id)


def _require_all_named(nodes: list[Node], unavailable: int, peers: dict[int, str]) -> tuple[Node, ...]:
    """Return ``nodes`` ordered by peer id. Raises UserFacingError if ``--node`` did not name every node.

    ``unavailable`` is the number of named nodes that did not answer. Their peer ids are unknown.
    """
    found = {node.peer_id: node for node in nodes}
    missing = [uri for peer, uri in sorted(peers.items()) if peer not in found]
    if len(missing) > unavailable:
        raise UserFacingError(
            f"Qdrant at {server_address()} is a cluster of {len(peers)} nodes. Name the REST URL of every node with --node. Not named: the node"
            f" with the cluster address {', '.join(missing)}."
        )
    return tuple(found[peer] for peer in sorted(found))
