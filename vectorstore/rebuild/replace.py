"""Replace a real collection that has the alias's name by an alias, as after the guide's program.

Qdrant renames no collection, and a name belongs either to a collection or to an alias. So a new collection is built from PostgreSQL and
checked. Then the old one is deleted and the alias is set at once. In between there is nothing to search. No other step has such a gap.
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
from vectorstore.rebuild.build import make, resume_build, wait_for_graphs
from vectorstore.retention.drop import DROP_SECONDS
from vectorstore.retention.unique_vectors import DiscardLimit, UniqueVectors
from vectorstore.schema.apply import point_alias


@dataclass(frozen=True, slots=True)
class Replaced:
    """The collection behind the alias, the counts of its acceptance check, and how long there was nothing to search."""

    collection: str
    users: int
    points: int
    gap_seconds: float


def replace_by_alias(*, timeout: float, limit: DiscardLimit, report: Report) -> Replaced:
    """Build a collection and replace the real one that has the alias's name. Only under ``collection_lock``.

    Raises UserFacingError, with the real collection unchanged, if the new one fails its check or if more unique vectors than the ``limit``
    were written to the real one meanwhile. After a kill between deletion and alias, the next ``init_qdrant`` sets the alias.
    """
    with qdrant() as client:
        require_all_nodes(client)
        collection = resume_build(client) or make(client)
    backfill(collection, timeout=timeout, report=report)
    wait_for_graphs(collection, timeout)
    with qdrant() as client:
        # There is no collection to compare recall with.
        accepted = accept(client, collection, min_recall=0.0)
        limit.count(collection_name(), UniqueVectors(None), report)
        limit.require(f"{collection_name()!r} was not changed. Another program wrote to it meanwhile")
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
            f"Qdrant reports that the alias {collection_name()!r} is set, but it is not. Check Qdrant's log, then run this command again."
        )
    return gap
