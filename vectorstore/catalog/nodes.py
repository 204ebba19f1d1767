"""Whether every node of a cluster is there: where one is not, Qdrant takes no new collection, and says so only when the request has timed out."""

from __future__ import annotations

from qdrant_client import QdrantClient
from qdrant_client.models import ClusterStatusOneOf1, ReplicaState

from findme.core.errors import StoreUnavailable
from vectorstore.catalog import registry
from vectorstore.qdrant.connection import is_embedded, qdrant

ANSWER_SECONDS = 3
"""How long a node may take to answer the one that is asked. ``/cluster`` says less: only the leader notices that another one is gone."""


def refuse_without_a_node(client: QdrantClient) -> None:
    """Raises StoreUnavailable where a node of the cluster does not answer, or a replica of ours is dead. Asks, and changes nothing."""
    if is_embedded() or not isinstance(client.cluster_status(), ClusterStatusOneOf1):
        return
    silent = _silent(client)
    if silent:
        raise StoreUnavailable(
            f"A node of the Qdrant cluster does not answer ({', '.join(silent)}): no collection can be made until it is back, or removed from the"
            " cluster. Nothing was begun."
        )
    _refuse_dead_replicas(client)


def _silent(client: QdrantClient) -> list[str]:
    """The nodes that do not answer, by their addresses. Where one is frozen, whoever asks them all may wait for it in vain."""
    try:
        with qdrant():  # for its errors
            told = client.cluster_telemetry(timeout=ANSWER_SECONDS).cluster
    except StoreUnavailable:
        return ["one that is frozen, or cannot be reached"]
    return sorted(node.uri for node in told.peers.values() if not node.responsive) if told else []


def _refuse_dead_replicas(client: QdrantClient) -> None:
    ours = set(registry.rows().values_list("name", flat=True))
    for name in sorted(ours & {found.name for found in client.get_collections().collections}):
        info = client.collection_cluster_info(name)
        dead = [info.peer_id for shard in info.local_shards if shard.state is ReplicaState.DEAD]
        dead += [shard.peer_id for shard in info.remote_shards if shard.state is ReplicaState.DEAD]
        if dead:
            raise StoreUnavailable(
                f"In the Qdrant cluster replicas of {name!r} on node {dead[0]} are dead: bring the node back, or remove it, and wait until they are"
                " active. Nothing was begun."
            )
