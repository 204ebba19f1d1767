from pathlib import Path

import pytest
from pytest_django import Settings
from qdrant_client.models import DropReplicaOperation, PointStruct, Replica, ReplicaState

from findme.core.errors import StoreUnavailable
from tests.support.cluster import cluster, wait_for_nodes
from vectorstore.catalog.cluster import holders, require_all_nodes
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.schema.initialize import compare, initialize

pytestmark = [pytest.mark.qdrant_server, pytest.mark.django_db]


def test_init_qdrant__higher_replication_factor__copies_shards_to_other_nodes(memory_path: Path, settings: Settings) -> None:
    """Qdrant accepts another replication factor, but copies no shard by itself."""
    with cluster(memory_path, settings, "findme_replicas") as nodes:
        settings.QDRANT_REPLICATION_FACTOR = 1
        initialize()
        v1 = f"{collection_name()}_v1"
        with qdrant() as client:
            client.upsert(v1, [PointStruct(id=number, vector=[float(number)] * 512) for number in range(1, 50)], wait=True)
            assert [len(peers) for peers in holders(client, v1).values()] == [1, 1, 1]

        settings.QDRANT_REPLICATION_FACTOR = 2
        assert [str(one) for one in compare().differences if one.what.startswith("replicas")] == [
            f"replicas of shard {shard}: 1, expected 2 (in place)" for shard in range(3)
        ]
        result = initialize()
        assert (result.status, compare().differences) == ("green", [])
        with qdrant() as client:
            states = [set(peers.values()) for peers in holders(client, v1).values()]
        assert states == [{ReplicaState.ACTIVE}] * 3

        with qdrant() as client:
            peer = next(iter(holders(client, v1)[1]))
            client.cluster_collection_update(v1, DropReplicaOperation(drop_replica=Replica(shard_id=1, peer_id=peer)))
        assert [str(one) for one in compare().differences] == ["replicas of shard 1: 1, expected 2 (in place)"]
        initialize()
        with qdrant() as client:
            assert [len(peers) for peers in holders(client, v1).values()] == [2, 2, 2]
            assert client.count(v1, exact=True).count == 49

        nodes[2].kill()
        settings.QDRANT_COLLECTION = "findme_another"
        wait_for_nodes(lambda: _refusal() is not None)
        assert nodes[0].ask("/collections")["collections"] == [{"name": v1}]


def _refusal() -> str | None:
    """Return the error while a node is dead, or None. Qdrant would wait for the node until the request times out."""
    with qdrant() as client:
        try:
            require_all_nodes(client)
        except StoreUnavailable:
            with pytest.raises(StoreUnavailable, match="nothing was changed") as refused:
                initialize()
            return str(refused.value)
    return None
