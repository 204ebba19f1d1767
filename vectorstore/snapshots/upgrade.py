"""Apply the current definition to a collection that was restored from a snapshot, as ``init_qdrant`` applies it."""

from __future__ import annotations

from dataclasses import replace

from qdrant_client import QdrantClient

from findme.core.errors import UserFacingError
from findme.core.waiting import Deadline
from vectorstore.catalog import registry
from vectorstore.catalog.ownership import ADOPTING
from vectorstore.consistency.checkpoint import KEY as MARK
from vectorstore.consistency.deletions import DELETED
from vectorstore.qdrant.connection import collection_name
from vectorstore.schema.apply import apply
from vectorstore.schema.diff import comparisons
from vectorstore.schema.live import read_in_full, read_live
from vectorstore.schema.plan import Plan, refuse

ABOUT_ITS_PLACE = ("collection ", "noted ", "alias ", "name ", "metadata.")
"""Comparisons of what the live collection is to be, and not of what a collection is to look like."""
CONSENSUS_SECONDS = 10.0
"""Another node of a cluster than the one that is asked may have agreed to a change first."""


def upgrade_collection(client: QdrantClient, collection: str) -> None:
    """Give it the settings, indexes and metadata of today, read back. Raises UserFacingError where it cannot be changed into that.

    What it says of itself is this database's from now on, and the checkpoint of then is gone.
    """
    planned = _plan(client, collection)
    refuse(planned)
    client.update_collection(collection, metadata={MARK: None, DELETED: None, ADOPTING: None})
    apply(client, planned)
    for _ in Deadline(CONSENSUS_SECONDS).polls():
        if not (left := _plan(client, collection).differences):
            return
    raise UserFacingError(f"Qdrant says that {collection!r} is changed, and {left[0]}: look at its log, and run it again.")


def _plan(client: QdrantClient, collection: str) -> Plan:
    """Of nothing but the collection, whose row is there before it: what nobody has noted would be noted as live."""
    row = registry.rows().filter(name=collection).first()
    if row is None:
        raise UserFacingError(
            f"{collection!r} was marked as failed, and its row is gone: somebody else has made or moved collections meanwhile. Run it again."
        )
    read = read_live(client)
    found = read_in_full(client, collection)
    live = replace(read, alias_of=collection, collection=collection, found=found, ownership_problem=None, rows={collection: row})
    compared = tuple(one for one in comparisons(live) if not one.what.startswith(ABOUT_ITS_PLACE))
    return Plan(collection_name(), collection, False, compared, live)
