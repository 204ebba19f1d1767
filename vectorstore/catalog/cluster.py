"""Nodes and shard replicas of a Qdrant cluster.

Qdrant stores a changed replication factor, but copies no shard by itself: the caller must create the missing replicas.
"""

from __future__ import annotations

from collections import Counter, defaultdict

from django.conf import settings
from qdrant_client import QdrantClient
from qdrant_client.models import (
    ClusterStatusOneOf1,
    ReplicaState,
    ReplicateShard,
    ReplicateShardOperation,
    ShardTransferMethod,
)

from findme.core.errors import StoreUnavailable
from findme.core.waiting import Deadline, wait_until
from vectorstore.catalog import registry
from vectorstore.qdrant.connection import is_embedded, qdrant

CONSENSUS_SECONDS = 10.0
"""How long the queried node of a cluster may lag behind the node that confirmed a change."""


def missing_replicas(client: QdrantClient, collection: str) -> dict[int, int]:
    """Return the number of replicas of each shard that has too few. At most one replica per node is expected."""
    status = None if is_embedded() else client.cluster_status()
    if not isinstance(status, ClusterStatusOneOf1):
        return {}
    wanted = min(settings.QDRANT_REPLICATION_FACTOR, len(status.peers))
    return {shard: len(peers) for shard, peers in sorted(holders(client, collection).items()) if len(peers) < wanted}


def holders(client: QdrantClient, collection: str) -> dict[int, dict[int, ReplicaState]]:
    """Return the nodes that hold each shard, with the states of the replicas.

    A dead replica counts. It returns with its node, or disappears when an operator removes the node.
    """
    info = client.collection_cluster_info(collection)
    found: dict[int, dict[int, ReplicaState]] = defaultdict(dict)
    for local in info.local_shards:
        found[local.shard_id][info.peer_id] = local.state
    for remote in info.remote_shards:
        found[remote.shard_id][remote.peer_id] = remote.state
    return found


def create_missing_replicas(client: QdrantClient, collection: str) -> None:
    """Request replicas of each shard that has too few, one at a time, on the nodes that hold the fewest shards.

    Return when all are requested. Qdrant continues to copy the data.
    """
    deadline = Deadline(CONSENSUS_SECONDS)

    def has_changed() -> bool:
        return missing_replicas(client, collection) != missing

    while missing := missing_replicas(client, collection):
        for shard in missing:
            _copy(client, collection, shard)
        if not wait_until(has_changed, deadline.remaining()):
            return  # The caller reads the replicas back and reports what is missing.


def is_copying(client: QdrantClient, collection: str) -> bool:
    """Return whether Qdrant is still copying shards between nodes."""
    if is_embedded():
        return False
    return bool(client.collection_cluster_info(collection).shard_transfers)


def _copy(client: QdrantClient, collection: str, shard: int) -> None:
    held = holders(client, collection)
    active = [peer for peer, state in held[shard].items() if state is ReplicaState.ACTIVE]
    load = Counter(peer for peers in held.values() for peer in peers)
    free = [peer for peer in _reachable(client) if peer not in held[shard]]
    if not active or not free:
        return
    copy = ReplicateShard(
        shard_id=shard,
        from_peer_id=active[0],
        to_peer_id=min(free, key=lambda peer: (load[peer], peer)),
        method=ShardTransferMethod.STREAM_RECORDS,
    )
    client.cluster_collection_update(collection, ReplicateShardOperation(replicate_shard=copy))


def _reachable(client: QdrantClient) -> list[int]:
    status = client.cluster_status()
    assert isinstance(status, ClusterStatusOneOf1)
    lost = status.message_send_failures.keys()
    return [int(peer) for peer, known in status.peers.items() if peer not in lost and known.uri not in lost]


ANSWER_SECONDS = 3
"""How long a node may take to answer the node that receives the request.

``/cluster`` shows less than the telemetry: only the leader notices that another node is down.
"""


def require_all_nodes(client: QdrantClient) -> None:
    """Raise StoreUnavailable if a node of the cluster does not answer, or a replica of this project is dead. Change nothing."""
    if is_embedded() or not isinstance(client.cluster_status(), ClusterStatusOneOf1):
        return
    unresponsive = _unresponsive_nodes(client)
    if unresponsive:
        raise StoreUnavailable(
            f"A node of the Qdrant cluster does not answer ({', '.join(unresponsive)}): nothing was changed. No collection can be created: bring the"
            " node back, or remove it from the cluster."
        )
    _require_no_dead_replicas(client)


def _unresponsive_nodes(client: QdrantClient) -> list[str]:
    """Return the addresses of the nodes that do not answer.

    If a node is frozen, the request to all nodes may fail. Then the address is unknown.
    """
    try:
        # For the translation of errors.
        with qdrant():
            telemetry = client.cluster_telemetry(timeout=ANSWER_SECONDS).cluster
    except StoreUnavailable:
        return ["its address is unknown"]
    return sorted(node.uri for node in telemetry.peers.values() if not node.responsive) if telemetry else []


def _require_no_dead_replicas(client: QdrantClient) -> None:
    ours = set(registry.rows().values_list("name", flat=True))
    for name in sorted(ours & {found.name for found in client.get_collections().collections}):
        info = client.collection_cluster_info(name)
        dead = [info.peer_id for shard in info.local_shards if shard.state is ReplicaState.DEAD]
        dead += [shard.peer_id for shard in info.remote_shards if shard.state is ReplicaState.DEAD]
        if dead:
            raise StoreUnavailable(
                f"In the Qdrant cluster replicas of {name!r} on node {dead[0]} are dead: nothing was changed. Bring the node back, or remove it, and"
                " wait until they are active."
            )
