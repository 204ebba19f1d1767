"""A rebuild on a cluster is refused while a node is unavailable."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from pathlib import Path

import pytest
from pytest_django import Settings

from findme.core.errors import StoreUnavailable
from tests.support.cluster import cluster, is_whole, wait_for_nodes
from tests.support.collections import version
from tests.vectorstore.rebuild.collections import create_live, differences, existing_versions, live_version, states
from vectorstore.adoption.adopt import adopt
from vectorstore.catalog.alias import AT_ONCE
from vectorstore.catalog.cluster import require_all_nodes
from vectorstore.qdrant.connection import qdrant
from vectorstore.rebuild.reindex import reindex, roll_back

pytestmark = [pytest.mark.qdrant_server, pytest.mark.django_db(transaction=True)]

ONE_DAY = timedelta(days=1)
LONG_TIMEOUT, SHORT_TIMEOUT = 40.0, 5.0
"""Seconds. Nodes that have just elected a leader need the long timeout, and the short one limits the wait for a frozen node."""


def is_refused() -> bool:
    try:
        with qdrant() as client:
            require_all_nodes(client)
    except StoreUnavailable:
        return True
    return False


def assert_refused_for(which: str) -> None:
    with pytest.raises(StoreUnavailable) as refused:
        reindex()
    assert str(refused.value) == (
        f"A node of the Qdrant cluster does not answer ({which}): nothing was changed. No collection can be created: bring the node"
        " back, or remove it from the cluster."
    )


def test_reindex__on_a_cluster__requires_every_node(memory_path: Path, settings: Settings) -> None:
    """The requests go to a follower, which does not notice by itself that another follower is gone."""
    with cluster(memory_path, settings, "findme_rebuilt_on_a_cluster") as nodes:
        leader = nodes[0].ask("/cluster")["raft_info"]["leader"]
        follower, other_follower = [node for node in nodes if node.ask("/cluster")["peer_id"] != leader]
        settings.QDRANT_URL, settings.QDRANT_TIMEOUT = follower.address.url, LONG_TIMEOUT
        create_live(5)
        assert reindex(retain=ONE_DAY).written == 5
        assert other_follower.process is not None
        os.kill(other_follower.process.pid, signal.SIGSTOP)
        settings.QDRANT_TIMEOUT = SHORT_TIMEOUT
        assert_refused_for("its address is unknown")
        settings.QDRANT_TIMEOUT = LONG_TIMEOUT
        os.kill(other_follower.process.pid, signal.SIGCONT)
        wait_for_nodes(lambda: not is_refused())
        other_follower.kill()
        assert_refused_for(f"{other_follower.uri}/")
        settings.QDRANT_COLLECTION = "findme_adopted_on_a_cluster"
        with pytest.raises(StoreUnavailable, match="nothing was changed"):
            adopt(on_plan=lambda _: pytest.fail("a plan was reported"))
        assert (live_version(), states()) == (None, {})
        settings.QDRANT_COLLECTION = "findme_rebuilt_on_a_cluster"
        assert (live_version(), states(), existing_versions()) == ("v2", {"v1": "retained", "v2": "live"}, {"v1", "v2"})
        assert roll_back().collection == version(1)
        assert roll_back(version(2)).collection == version(2)

        other_follower.start()
        wait_for_nodes(lambda: is_whole(nodes, version(2)) and not is_refused())
        assert reindex(retain=AT_ONCE).written == 5
        assert (live_version(), states(), differences(3)) == ("v3", {"v1": "retained", "v3": "live"}, {})
        assert is_whole(nodes, version(3))
