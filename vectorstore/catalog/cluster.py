"""How many nodes of a cluster hold each shard. Qdrant notes another replication factor and copies nothing by itself: whoever changes it has to."""

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

BEGIN_SECONDS = 10.0
"""How long until every node has heard of a copy that is to be made."""


def missing_replicas(client: QdrantClient, collection: str) -> dict[int, int]:
    """How many replicas there are of each shard that has too few. No more is wanted than there are nodes."""
    status = None if is_embedded() else client.cluster_status()
    if not isinstance(status, ClusterStatusOneOf1):
        return {}
    wanted = min(settings.QDRANT_REPLICATION_FACTOR, len(status.peers))
    return {shard: len(peers) for shard, peers in sorted(holders(client, collection).items()) if len(peers) < wanted}


def holders(client: QdrantClient, collection: str) -> dict[int, dict[int, ReplicaState]]:
    """The nodes that hold each shard, and how they are. A dead copy counts: it comes back with its node, or goes when that is removed."""
    info = client.collection_cluster_info(collection)
    found: dict[int, dict[int, ReplicaState]] = defaultdict(dict)
    for local in info.local_shards:
        found[local.shard_id][info.peer_id] = local.state
    for remote in info.remote_shards:
        found[remote.shard_id][remote.peer_id] = remote.state
    return found


def create_missing_replicas(client: QdrantClient, collection: str) -> None:
    """Have one copy more made of each shard that has too few, until none has; on the nodes that hold the fewest shards. Qdrant goes on copying."""
    deadline = Deadline(BEGIN_SECONDS)

    def has_changed() -> bool:
        return missing_replicas(client, collection) != missing

    while missing := missing_replicas(client, collection):
        for shard in missing:
            _copy(client, collection, shard)
        if not wait_until(has_changed, deadline.remaining()):
            return  # the caller reads back, and says so


def is_copying(client: QdrantClient, collection: str) -> bool:
    """Whether Qdrant is still copying shards from node to node."""
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
"""How long a node may take to answer the one that is asked. ``/cluster`` says less: only the leader notices that another one is gone."""


def require_all_nodes(client: QdrantClient) -> None:
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
            telemetry = client.cluster_telemetry(timeout=ANSWER_SECONDS).cluster
    except StoreUnavailable:
        return ["one that is frozen, or cannot be reached"]
    return sorted(node.uri for node in telemetry.peers.values() if not node.responsive) if telemetry else []


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
