"""Whether every node of a cluster is there: where one is not, Qdrant takes no new collection, and says so only when the request has timed out."""

from __future__ import annotations

from qdrant_client import QdrantClient
from qdrant_client.models import ClusterStatusOneOf1, ReplicaState

from findme.console.errors import StoreUnavailable
from vectorstore.connection import is_embedded


def refuse_without_a_node(client: QdrantClient) -> None:
    """Raises StoreUnavailable where a node of the cluster does not answer, or a replica is dead. Asks, and changes nothing."""
    if is_embedded():
        return
    status = client.cluster_status()
    if not isinstance(status, ClusterStatusOneOf1):
        return  # a single server
    for peer, failure in status.message_send_failures.items():
        raise StoreUnavailable(
            f"A node of the Qdrant cluster does not answer ({_uri(status, peer)}, {failure.count} messages lost): no collection can be made until"
            " it is back, or removed from the cluster. Nothing was begun."
        )
    if status.raft_info.leader is None:
        raise StoreUnavailable("The nodes of the Qdrant cluster have no leader: see which are down. Nothing was begun.")
    _refuse_dead_replicas(client)


def _uri(status: ClusterStatusOneOf1, peer: str) -> str:
    """A node by its address: Qdrant names it by that, or by its id."""
    known = status.peers.get(peer)
    return known.uri if known else peer


def _refuse_dead_replicas(client: QdrantClient) -> None:
    for name in (found.name for found in client.get_collections().collections):
        info = client.collection_cluster_info(name)
        dead = [shard.peer_id for shard in info.remote_shards if shard.state is ReplicaState.DEAD]
        if dead:
            raise StoreUnavailable(
                f"In the Qdrant cluster the replicas of {name!r} on node {dead[0]} are dead: bring the node back, or remove it, and wait until"
                " they are active. Nothing was begun."
            )
