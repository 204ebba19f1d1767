"""The servers that hold the collections: one, or every node of a cluster, each of which makes, keeps and takes back snapshots of its own."""

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
    """One server. ``peer_id`` is 0 for one that is not part of a cluster."""

    peer_id: int
    address: Address

    @property
    def client(self) -> QdrantClient:
        """The process's client of it. Raises StoreUnavailable."""
        return client_of(self.address, collection_name())


def refuse_embedded(what: str) -> None:
    """Raises UserFacingError where Qdrant is a folder: WHAT ("snapshots") is a server's."""
    if is_embedded():
        raise UserFacingError(f"The embedded vector store has no {what}: set QDRANT_URL to a Qdrant server.")


def every_node(client: QdrantClient, urls: Sequence[str]) -> tuple[Node, ...]:
    """The server at QDRANT_URL, or the nodes of its cluster at URLS.

    A cluster tells only where its nodes hear each other, not where they answer requests: so each URL is asked whom it is, and all have to be named.
    Raises UserFacingError for a set that is not complete, StoreUnavailable for a node that does not answer.
    """
    nodes, silent = nodes_that_answer(client, urls)
    for error in silent:
        raise error
    return nodes


def nodes_that_answer(client: QdrantClient, urls: Sequence[str]) -> tuple[tuple[Node, ...], tuple[StoreUnavailable, ...]]:
    """As ``every_node``, and what is wrong with those of the cluster that do not answer."""
    status = client.cluster_status()
    peers = {int(peer): known.uri for peer, known in status.peers.items()} if isinstance(status, ClusterStatusOneOf1) else {}
    if len(peers) <= 1:
        if urls:
            raise UserFacingError(f"--node {urls[0]!r} is for a cluster, and Qdrant at {server_address()} is none: leave it out.")
        return (Node(next(iter(peers), 0), server_address()),), ()
    nodes: list[Node] = []
    silent: list[StoreUnavailable] = []
    for url in dict.fromkeys(urls):
        try:
            nodes.append(_node_at(url, peers))
        except StoreUnavailable as error:
            silent.append(error)
    return _complete(nodes, len(silent), peers), tuple(silent)


def version_of(node: Node) -> tuple[int, int]:
    """Return the server's version, major and minor. Raises StoreUnavailable."""
    with translate_server_errors(node.address):
        major, minor, *_ = node.client.http.service_api.root().version.split(".")
    return int(major), int(minor)


def local_shards(node: Node, collection: str) -> set[int]:
    """The shards of the collection that the server has. Raises StoreUnavailable."""
    with translate_server_errors(node.address):
        return {shard.shard_id for shard in node.client.collection_cluster_info(collection).local_shards}


def _node_at(url: str, peers: dict[int, str]) -> Node:
    if "@" in url or not url.startswith(("http://", "https://")):
        raise UserFacingError("A --node names no URL http://HOST:PORT or https://HOST:PORT, or holds a password: correct it.")
    node = Node(0, replace(server_address(), url=url, grpc_port=0))
    try:
        with translate_server_errors(node.address):
            status = node.client.cluster_status()
    except StoreUnavailable as error:
        raise StoreUnavailable(str(error).replace("QDRANT_URL", "--node")) from error
    if not isinstance(status, ClusterStatusOneOf1) or status.peer_id not in peers:
        raise UserFacingError(f"What answers at --node {url!r} is not a node of the cluster at {server_address()}: correct it.")
    return replace(node, peer_id=status.peer_id)


def _complete(nodes: list[Node], silent: int, peers: dict[int, str]) -> tuple[Node, ...]:
    """So many of the nodes that are SILENT are named as well: nobody knows which."""
    found = {node.peer_id: node for node in nodes}
    missing = [uri for peer, uri in sorted(peers.items()) if peer not in found]
    if len(missing) > silent:
        raise UserFacingError(
            f"Qdrant at {server_address()} is a cluster of {len(peers)} nodes, each with data of its own: name the REST URL of every one with --node."
            f" Not named: the one that the others reach at {', '.join(missing)}."
        )
    return tuple(found[peer] for peer in sorted(found))
