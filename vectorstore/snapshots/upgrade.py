"""Apply the current definition to a collection that was restored from a snapshot, as ``init_qdrant`` applies it."""

from __future__ import annotations

from dataclasses import replace

from qdrant_client import QdrantClient

from findme.core.errors import UserFacingError
from findme.core.waiting import Deadline
from vectorstore.catalog import registry
from vectorstore.catalog.cluster import CONSENSUS_SECONDS
from vectorstore.catalog.ownership import ADOPTING
from vectorstore.consistency.checkpoint import KEY as CHECKPOINT
from vectorstore.consistency.deletions import DELETED
from vectorstore.qdrant.connection import collection_name
from vectorstore.schema.apply import apply
from vectorstore.schema.diff import comparisons
from vectorstore.schema.live import read_in_full, read_live
from vectorstore.schema.plan import Plan, refuse

IDENTITY_COMPARISONS = ("collection ", "noted ", "alias ", "name ", "metadata.")
"""Prefixes of the comparisons that concern which collection is live, not how a collection is configured."""


def upgrade_collection(client: QdrantClient, collection: str) -> None:
    """Apply today's settings, indexes and metadata to ``collection``, and read them back.

    The metadata become those of this database, and the old checkpoint is removed. Raises UserFacingError if a setting cannot be changed.
    """
    planned = _plan(client, collection)
    refuse(planned)
    client.update_collection(collection, metadata={CHECKPOINT: None, DELETED: None, ADOPTING: None})
    apply(client, planned)
    for _ in Deadline(CONSENSUS_SECONDS).polls():
        if not (remaining := _plan(client, collection).differences):
            return
    raise UserFacingError(
        f"Qdrant confirmed the change of {collection!r}, but {remaining[0]}. Check Qdrant's log, then run the command again."
    )


def _plan(client: QdrantClient, collection: str) -> Plan:
    """Return the plan for this collection only.

    Its registry row must exist: the plan would register a collection without a row as live.
    """
    row = registry.rows().filter(name=collection).first()
    if row is None:
        raise UserFacingError(
            f"The registry row of {collection!r} is gone, because another process created or switched collections meanwhile. Run the command again."
        )
    read = read_live(client)
    found = read_in_full(client, collection)
    live = replace(read, alias_of=collection, collection=collection, found=found, ownership_problem=None, rows={collection: row})
    compared = tuple(one for one in comparisons(live) if not one.what.startswith(IDENTITY_COMPARISONS))
    return Plan(collection_name(), collection, False, compared, live)
