"""Replace a real collection that has the alias's name by an alias, as after the guide's program.

Qdrant renames no collection, and a name belongs either to a collection or to an alias. So a new collection is built from PostgreSQL and
checked. Then the old one is deleted and the alias is set at once. In between there is nothing to search. No other step has such a gap.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta

from qdrant_client import QdrantClient

from findme.core.commands.progress import Report
from vectorstore.catalog import registry
from vectorstore.catalog.alias import AT_ONCE, point_alias
from vectorstore.qdrant.connection import collection_name
from vectorstore.rebuild.acceptance import accept
from vectorstore.rebuild.build import build
from vectorstore.rebuild.promote import promote
from vectorstore.retention.drop import DROP_SECONDS
from vectorstore.retention.unique_vectors import DiscardLimit, UniqueVectors


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
    gap = 0.0

    def switch(client: QdrantClient, target: str, retain: timedelta | None) -> None:
        nonlocal gap
        limit.count(collection_name(), UniqueVectors(None), report)
        limit.require(f"{collection_name()!r} was not changed. Another program wrote to it meanwhile")
        registry.prepare(target, retain)
        begun = time.monotonic()
        client.delete_collection(collection_name(), timeout=DROP_SECONDS)
        point_alias(client, target)
        gap = time.monotonic() - begun
        registry.reconcile(target)

    collection, _ = build(timeout=timeout, report=report)
    # There is no collection to compare recall with.
    accepted = accept(collection, min_recall=0.0, report=report)
    promote(accepted, retain=AT_ONCE, limit=limit, switch=switch)
    return Replaced(collection, accepted.users, accepted.points, gap)
