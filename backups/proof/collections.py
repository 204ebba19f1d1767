"""Qdrant collections for a proof, under a name of their own. The next run deletes them if their own run was killed.

The name begins with that of the scratch database, whose lock says whether the run still exists. The server's number follows: another server of
PostgreSQL, which uses the same Qdrant, has other locks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from django.db.backends.base.base import BaseDatabaseWrapper
from qdrant_client import QdrantClient

from backups.manifest import Database
from backups.postgresql.scratch import NAME, without_run
from findme.core.errors import StoreUnavailable
from vectorstore.qdrant.connection import is_embedded, qdrant
from vectorstore.snapshots.nodes import every_node
from vectorstore.snapshots.repository import delete_one, snapshots_of

COLLECTION = re.compile(rf"({NAME.pattern})_([0-9]{{1,20}})_v[0-9]+")
DROP_SECONDS = 60


def scratch_alias(scratch: Database) -> str:
    """Return the alias for the collection of a scratch database. The collection itself ends with its number, as all do."""
    return f"{scratch.name}_{scratch.system_identifier}"


def delete_abandoned_collections(connection: BaseDatabaseWrapper, server: Database, nodes: Sequence[str]) -> list[str]:
    """Delete the collections of killed runs, and return their names. Raise StoreUnavailable."""
    if is_embedded():
        return []
    with qdrant() as client:
        found = {name: match for name in _names(client) if (match := COLLECTION.fullmatch(name)) and match[3] == server.system_identifier}
        free = without_run(connection, {match[1] for match in found.values()})
        names = sorted(name for name, match in found.items() if match[1] in free)
        return _delete(client, names, nodes)


def delete_collections_of(alias: str, nodes: Sequence[str]) -> None:
    """Delete the collections of ``scratch_alias``, with the alias. Raise StoreUnavailable if one remains."""
    if is_embedded():
        return
    with qdrant() as client:
        _delete(client, [name for name in _names(client) if COLLECTION.fullmatch(name) and name.startswith(f"{alias}_v")], nodes)


def _names(client: QdrantClient) -> list[str]:
    return sorted(collection.name for collection in client.get_collections().collections)


def _delete(client: QdrantClient, names: list[str], nodes: Sequence[str]) -> list[str]:
    for name in names:
        # Qdrant keeps the uploaded file of a killed restore as a snapshot of the collection, also after the collection is gone.
        for node in every_node(client, nodes):
            for snapshot in snapshots_of(node, name):
                delete_one(node, snapshot)
        client.delete_collection(name, timeout=DROP_SECONDS)
        if client.collection_exists(name):
            raise StoreUnavailable(
                f"Qdrant reports that {name!r} is deleted, but it still exists. Check Qdrant's log: the next run deletes it again."
            )
    return names
