"""An alias in the place of a real collection that bears its name, as one that was made by the guide's program does.

Qdrant renames nothing, and a name is either a collection's or an alias's. So one is built from PostgreSQL beside it, and proven; then the old one is
deleted and the alias set at once. In between there is nothing to search: the only step of all with a gap.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from qdrant_client import QdrantClient

from findme.core.commands.progress import Report
from findme.core.errors import UserFacingError
from vectorstore.catalog import registry
from vectorstore.catalog.alias import AT_ONCE, alias_target, prepare
from vectorstore.catalog.cluster import require_all_nodes
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.rebuild.acceptance import accept
from vectorstore.rebuild.backfill import backfill
from vectorstore.rebuild.build import go_on_with, make, wait_for_graphs
from vectorstore.retention.drop import DROP_SECONDS
from vectorstore.retention.unique_vectors import DiscardLimit, UniqueVectors
from vectorstore.schema.apply import point_alias


@dataclass(frozen=True, slots=True)
class Replaced:
    """The collection that the alias leads to now, how many people and points it was accepted with, and how long there was nothing to
    search."""

    collection: str
    users: int
    points: int
    gap_seconds: float


def replace_by_alias(*, timeout: float, limit: DiscardLimit, report: Report) -> Replaced:
    """Under ``collection_lock``, and for an alias whose name a real collection bears. Raises UserFacingError with that one untouched where
    the one that is built is not whole, and where more unique vectors than the LIMIT came into the old one while it was built. Killed after
    the old one was deleted, the next ``init_qdrant`` sets the alias."""
    with qdrant() as client:
        require_all_nodes(client)
        collection = go_on_with(client) or make(client)
    backfill(collection, timeout=timeout, report=report)
    wait_for_graphs(collection, timeout)
    with qdrant() as client:
        accepted = accept(client, collection, min_recall=0.0)  # there is none to compare with
        limit.count(collection_name(), UniqueVectors(None), report)
        limit.require(f"{collection_name()!r} stays as it is, with what another program wrote meanwhile")
        prepare(collection, AT_ONCE)
        gap = _swap(client, collection)
        registry.reconcile(collection)
    return Replaced(collection, accepted.users, accepted.points, gap)


def _swap(client: QdrantClient, collection: str) -> float:
    begun = time.monotonic()
    client.delete_collection(collection_name(), timeout=DROP_SECONDS)
    point_alias(client, collection_name(), collection)
    gap = time.monotonic() - begun
    if alias_target(client) != collection:
        raise UserFacingError(
            f"Qdrant says that the alias {collection_name()!r} was set, and it is not: look at its log, and run it again."
        )
    return gap
