"""Making the collection that is built, or going on with one that somebody died over."""

from __future__ import annotations

import json
from typing import Any

from qdrant_client import QdrantClient

from findme.core.errors import UserFacingError
from findme.core.waiting import StallTimeout
from vectorstore.catalog import registry
from vectorstore.catalog.lock import keep_session
from vectorstore.consistency.checkpoint import write_checkpoint
from vectorstore.qdrant.connection import is_embedded, qdrant
from vectorstore.retention.drop import drop
from vectorstore.schema import apply
from vectorstore.schema.definition import DEFINITION
from vectorstore.schema.initialize import wait_until_green

SLICE_SECONDS = 2.0
"""Between two looks whether Qdrant gets on."""


def next_name(client: QdrantClient) -> str:
    """The name of the collection to come: one more than any in Qdrant or in the registry."""
    return registry.next_name(found.name for found in client.get_collections().collections)


def make(client: QdrantClient) -> str:
    """A new collection as it is defined, without points, registered as building: its name. Only under ``collection_lock``.

    Its row comes first: killed in between, what was made is known to whoever comes next, who drops it.
    """
    name = next_name(client)
    apply.make(client, name)
    registry.build(name)
    write_checkpoint(client, name)
    return name


def go_on_with(client: QdrantClient) -> str | None:
    """The one that a rebuild before this has left unfinished, if it is still there and as it is defined today; else it is dropped."""
    found = registry.unfinished()
    if found is None:
        return None
    if found.definition_hash != DEFINITION.hash() or not client.collection_exists(found.name):
        drop(client, [found.name])
        return None
    registry.build(found.name)
    return found.name


def wait_for_graphs(collection: str, timeout: float) -> None:
    """Until Qdrant has built them all, however long that takes; at most TIMEOUT seconds without anything happening. Raises
    UserFacingError."""
    stall = StallTimeout(timeout)
    for _ in stall.polls():
        with qdrant() as client:
            status = wait_until_green(client, collection, min(SLICE_SECONDS, timeout))
            found = client.get_collection(collection)
            under_way = at_work(client, collection)
        if status == "green":
            return
        stall.observe((status, found.indexed_vectors_count, found.points_count, under_way))
        keep_session()
    raise UserFacingError(
        f"Qdrant has been at work on {collection!r} for {timeout:g} s without getting on ({status}): the alias was not moved. Look at its log,"
        " and run it again: it goes on."
    )


def at_work(client: QdrantClient, collection: str) -> str:
    """What Qdrant is writing anew and how far it has come with it, on every node of a cluster; no more than a text to compare with a later one.

    While a graph is built nothing else of the collection changes, which for a large segment takes hours. As JSON has it: the driver's model of it
    fits one release of the server.
    """
    if is_embedded():
        return ""
    answer: dict[str, Any] = client.http.client.request(
        type_=dict[str, Any], method="GET", url="/collections/{collection_name}/optimizations", path_params={"collection_name": collection}
    )
    return json.dumps(answer["result"]["running"])
