"""A rebuild on a cluster, and what it refuses there while a node is unavailable."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from pathlib import Path

import pytest
from pytest_django import Settings

from findme.core.errors import StoreUnavailable
from tests.vectorstore.cluster import cluster, is_whole, wait_for_nodes
from tests.vectorstore.rebuild.collections import begun, leads_to, states, there, version, wrong
from vectorstore.catalog.alias import AT_ONCE
from vectorstore.catalog.cluster import require_all_nodes
from vectorstore.qdrant.connection import qdrant
from vectorstore.rebuild.adopt import adopt
from vectorstore.rebuild.reindex import reindex, roll_back

pytestmark = [pytest.mark.qdrant_server, pytest.mark.django_db(transaction=True)]

ONE_DAY = timedelta(days=1)
PATIENT, IMPATIENT = 40.0, 5.0
"""Seconds: what nodes agree on takes a moment where they have just elected a leader; and one that is frozen is waited for so long."""


def is_refused() -> bool:
    try:
        with qdrant() as client:
            require_all_nodes(client)
    except StoreUnavailable:
        return True
    return False


def refused_for(which: str) -> None:
    with pytest.raises(StoreUnavailable) as refused:
        reindex()
    assert str(refused.value) == (
        f"A node of the Qdrant cluster does not answer ({which}): nothing was changed. No collection can be created: bring the node back,"
        " node back, or remove it from the cluster."
    )


def test_reindex__on_a_cluster_with_and_without_one_of_its_nodes(memory_path: Path, settings: Settings) -> None:
    """Asked is a follower, which does not notice by itself that another one is gone."""
    with cluster(memory_path) as nodes:
        leader = nodes[0].ask("/cluster")["raft_info"]["leader"]
        asked, other = [node for node in nodes if node.ask("/cluster")["peer_id"] != leader]
        settings.QDRANT_URL, settings.QDRANT_API_KEY, settings.QDRANT_GRPC_PORT = asked.address.url, "", 0
        settings.QDRANT_COLLECTION = "findme_rebuilt_on_a_cluster"
        settings.QDRANT_TIMEOUT = PATIENT
        settings.QDRANT_SHARD_NUMBER, settings.QDRANT_REPLICATION_FACTOR = 3, 2
        begun(5)
        assert reindex(retain=ONE_DAY).written == 5
        assert other.process is not None
        os.kill(other.process.pid, signal.SIGSTOP)
        settings.QDRANT_TIMEOUT = IMPATIENT
        refused_for("its address is unknown")
        settings.QDRANT_TIMEOUT = PATIENT
        os.kill(other.process.pid, signal.SIGCONT)
        wait_for_nodes(lambda: not is_refused())
        other.kill()
        refused_for(f"{other.uri}/")
        settings.QDRANT_COLLECTION = "findme_adopted_on_a_cluster"
        with pytest.raises(StoreUnavailable, match="nothing was changed"):
            adopt(on_plan=lambda _: pytest.fail("something was announced"))
        assert (leads_to(), states()) == (None, {})
        settings.QDRANT_COLLECTION = "findme_rebuilt_on_a_cluster"
        assert (leads_to(), states(), there()) == ("v2", {"v1": "retained", "v2": "live"}, {"v1", "v2"})
        assert roll_back().collection == version(1)
        assert roll_back(version(2)).collection == version(2)

        other.start()
        wait_for_nodes(lambda: is_whole(nodes, version(2)) and not is_refused())
        assert reindex(retain=AT_ONCE).written == 5
        assert (leads_to(), states(), wrong(3)) == ("v3", {"v1": "retained", "v3": "live"}, {})
        assert is_whole(nodes, version(3))
