"""A backup and a restore on a cluster of three nodes: each node has its own snapshot."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_django import Settings

from backups.qdrant import Servers
from tests.backups.restore.world import is_restored, make_world, nothing_left
from tests.support.cluster import cluster, is_whole, wait_for_nodes
from tests.support.database import Database
from vectorstore.catalog import registry

pytestmark = [pytest.mark.qdrant_server, pytest.mark.at_length, pytest.mark.long]


def test_restore__cluster(memory_path: Path, settings: Settings, served: Database, place: Path, restore_journal: Path) -> None:
    with cluster(memory_path, settings, "users") as nodes:
        servers = Servers(tuple(node.address.url for node in nodes), 120)
        world = make_world(place, users=30, servers=servers)
        assert world.backup.qdrant is not None
        assert len({one.peer_id for one in world.backup.qdrant.nodes}) == len(nodes)
        done = world.restore(servers=servers)
        assert done.collection is not None
        assert done.collection.is_from_snapshot
        assert (done.collection.points, done.collection.removed) == (29, 1)
        assert is_restored(world)
        live = registry.live()
        assert live is not None
        wait_for_nodes(lambda: is_whole(nodes, live))
        nothing_left(served, restore_journal)
