"""Build a collection from PostgreSQL, or resume an interrupted build."""

from __future__ import annotations

import json
import logging
from typing import Any

from qdrant_client import QdrantClient

from findme.core.commands.progress import Report, ignore_progress
from findme.core.plurals import counted
from findme.core.waiting import StallTimeout
from vectorstore.catalog import registry
from vectorstore.catalog.lock import keep_session
from vectorstore.consistency.checkpoint import write_checkpoint
from vectorstore.qdrant.connection import is_embedded, qdrant
from vectorstore.rebuild.backfill import BackfillResult, backfill
from vectorstore.retention.drop import drop
from vectorstore.schema import apply
from vectorstore.schema.definition import DEFINITION
from vectorstore.schema.initialize import wait_until_green

SLICE_SECONDS = 2.0
"""Pause between two checks of Qdrant's progress."""
TIMEOUT_SECONDS = 300.0

log = logging.getLogger("findme.vectorstore.rebuild")


def build(*, timeout: float = TIMEOUT_SECONDS, report: Report = ignore_progress) -> tuple[str, BackfillResult]:
    """Create a collection, or resume an interrupted build, and complete it. Return its name. Only under ``collection_lock``."""
    with qdrant() as client:
        name = resume_build(client) or make(client)
    return name, complete(name, timeout=timeout, report=report)


def complete(collection: str, *, timeout: float = TIMEOUT_SECONDS, report: Report = ignore_progress) -> BackfillResult:
    """Write the point of every user that is missing in the collection, and wait for the graphs."""
    done = backfill(collection, timeout=timeout, report=report)
    log.info("%s written, %s already existed.", counted(done.written, "point"), f"{done.found:,}")
    wait_for_graphs(collection, timeout)
    return done


def next_name(client: QdrantClient) -> str:
    """Return the name of the next collection: its number is one higher than any in Qdrant or in the registry."""
    return registry.next_name(found.name for found in client.get_collections().collections)


def make(client: QdrantClient) -> str:
    """Create an empty collection by the definition, register it as building, and return its name. Only under ``collection_lock``.

    Its row is committed first. After a kill in between, the next run knows the unfinished collection and drops it.
    """
    name = next_name(client)
    apply.make(client, name)
    registry.build(name)
    write_checkpoint(client, name)
    log.info("Created %s. Workers write it from now on.", name)
    return name


def resume_build(client: QdrantClient) -> str | None:
    """Return the collection of an interrupted rebuild, if it exists and has today's definition. Otherwise drop it."""
    found = registry.unfinished()
    if found is None:
        return None
    if found.definition_hash != DEFINITION.hash() or not client.collection_exists(found.name):
        drop(client, [found.name])
        return None
    registry.build(found.name)
    log.info("Resuming the build of %s.", found.name)
    return found.name


def wait_for_graphs(collection: str, timeout: float) -> None:
    """Wait until Qdrant has built all graphs. Raise AliasNotMoved after ``timeout`` seconds without progress."""
    stall = StallTimeout(timeout)
    for _ in stall.polls():
        with qdrant() as client:
            status = wait_until_green(client, collection, min(SLICE_SECONDS, timeout))
            found = client.get_collection(collection)
            running = running_optimizations(client, collection)
        if status == "green":
            return
        stall.observe((status, found.indexed_vectors_count, found.points_count, running))
        keep_session()
    raise registry.AliasNotMoved(
        f"Qdrant has made no progress on {collection!r} for {timeout:g} s (status {status})",
        "Check Qdrant's log, then run this command again: it resumes.",
    )


def running_optimizations(client: QdrantClient, collection: str) -> str:
    """Return the running optimizations and their progress, on every node of a cluster, as a text to compare with a later one.

    While Qdrant builds a graph, nothing else of the collection changes. For a large segment this takes hours. The answer is read as JSON,
    because the driver's model of it fits one release of the server only.
    """
    if is_embedded():
        return ""
    answer: dict[str, Any] = client.http.client.request(
        type_=dict[str, Any], method="GET", url="/collections/{collection_name}/optimizations", path_params={"collection_name": collection}
    )
    return json.dumps(answer["result"]["running"])
