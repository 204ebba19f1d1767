"""Fence a collection against new vectors by its strict mode, while searches and reads continue.

The settings before are saved in PostgreSQL first. They are restored if the adoption fails, and by the next ``init_qdrant`` after a kill.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from uuid import uuid4

import grpc
from django.db import Error
from qdrant_client import QdrantClient
from qdrant_client import grpc as qdrant_grpc
from qdrant_client.http.exceptions import UnexpectedResponse
from qdrant_client.models import CollectionInfo, PointsList, PointStruct, UpdateMode, VectorParams, VectorStruct

from findme.core.errors import UserFacingError, one_line
from findme.core.waiting import Deadline
from vectorstore.catalog.alias import collection_names
from vectorstore.catalog.cluster import CONSENSUS_SECONDS
from vectorstore.catalog.saved_settings import (
    LIMITS,
    UNLIMITED,
    Saved,
    Settings,
    change_settings,
    forget_settings,
    restore_settings,
    restore_values,
    saved_settings,
)
from vectorstore.models import VECTOR_SIZE
from vectorstore.qdrant.address import server_address
from vectorstore.qdrant.connection import collection_name, is_embedded, qdrant
from vectorstore.snapshots.nodes import Node

log = logging.getLogger("findme.vectorstore.adoption")

FENCE: Settings = {"enabled": True, "upsert_max_batchsize": 0}
"""Strict mode that refuses every upsert and every update of vectors, because each has at least one point.

Qdrant 1.18.3 still sets payloads and deletes points. Neither can change a vector.
"""


@contextmanager
def fenced(nodes: Sequence[Node], collection: str) -> Iterator[None]:
    """Refuse upserts into ``collection`` during the block, and lift the fence if the block fails.

    A block that succeeds has deleted the collection. The embedded store has no strict mode: no fence is raised there. Raises UserFacingError if
    a test write is not refused.
    """
    if is_embedded():
        yield
        return
    saved: Saved | None = None
    try:
        with qdrant() as client:
            saved = change_settings(client, collection, FENCE | _dormant_limits(client, collection))
        _require_refusal(nodes, collection)
        log.info("%s refuses upserts from now on. Searches continue.", collection)
        yield
    except BaseException as error:
        _lift_after(error, collection, saved)
        raise


def lift(client: QdrantClient, collection: str) -> bool:
    """Restore the settings that a killed adoption has left, and return whether there were some. Only under ``collection_lock``."""
    found = not is_embedded() and collection in saved_settings()
    if found:
        restore_settings(client, collection)
    return found


def interruption() -> str | None:
    """Return a sentence about a fence that a killed adoption has left, or None."""
    name = collection_name()
    if name not in saved_settings():
        return None
    return f"{name} refuses upserts since an adoption was interrupted. Run init_qdrant --adopt to finish it, or init_qdrant to lift this."


def _dormant_limits(client: QdrantClient, collection: str) -> Settings:
    """Return unlimited values for the limits of a strict mode that is off: the fence switches it on, and searches must continue."""
    found = client.http.collections_api.get_collection(collection).result
    assert found is not None
    mode = found.config.strict_mode_config
    if mode is None or mode.enabled:
        return {}
    limits = {name: getattr(mode, name) for name in sorted(LIMITS - FENCE.keys())}
    return {name: True if isinstance(limit, bool) else UNLIMITED for name, limit in limits.items() if limit is not None}


def _lift_after(error: BaseException, collection: str, saved: Saved | None) -> None:
    """Lift the fence after ``error``, without PostgreSQL if that is unavailable. If this fails too, raise an error that says so.

    Without PostgreSQL the ``saved`` settings remain there. The next run finds them restored and forgets them.
    """
    try:
        with qdrant() as client:
            if saved is None:
                lift(client, collection)
            else:
                restore_values(client, collection, saved)
                with suppress(Error):
                    forget_settings(collection)
            if collection in collection_names(client):
                log.info("%s has its settings from before and accepts upserts again.", collection)
    except UserFacingError as failure:
        why = "" if one_line(failure) == one_line(error) else f" ({one_line(failure)})"
        raise UserFacingError(
            f"{one_line(error)} {collection!r} still refuses upserts{why}: run manage.py init_qdrant, which restores its settings."
        ) from error


def _require_refusal(nodes: Sequence[Node], collection: str) -> None:
    """Raise UserFacingError unless every node, and gRPC if it is used, refuses an upsert. A node may learn of the fence a moment later.

    The upsert only updates, and no point has its random id. So it would change nothing if it were accepted.
    """
    for _ in Deadline(CONSENSUS_SECONDS).polls():
        accepted = [str(node.address) for node in nodes if not _refused_by_rest(node.client, collection)]
        with qdrant() as client:
            if server_address().grpc_port and not _refused_by_grpc(client, collection):
                accepted.append(f"gRPC port {server_address().grpc_port}")
        if not accepted:
            return
    raise UserFacingError(
        f"{collection!r} still accepts writes by {accepted[0]} although strict mode forbids them: nothing was changed. Check Qdrant's version and"
        " log."
    )


def _refused_by_rest(client: QdrantClient, collection: str) -> bool:
    found = client.http.collections_api.get_collection(collection).result
    assert found is not None
    write = PointsList(points=[PointStruct(id=str(uuid4()), vector=_vector(found))], update_mode=UpdateMode.UPDATE_ONLY)
    try:
        client.http.points_api.upsert_points(collection, wait=True, point_insert_operations=write)
    except UnexpectedResponse as error:
        return _is_strict_mode(error.content.decode(errors="replace"))
    return False


def _refused_by_grpc(client: QdrantClient, collection: str) -> bool:
    vector = qdrant_grpc.Vectors(vector=qdrant_grpc.Vector(dense=qdrant_grpc.DenseVector(data=[1.0] * VECTOR_SIZE)))
    point = qdrant_grpc.PointStruct(id=qdrant_grpc.PointId(uuid=str(uuid4())), vectors=vector)
    write = qdrant_grpc.UpsertPoints(collection_name=collection, wait=True, points=[point], update_mode=qdrant_grpc.UpdateMode.UpdateOnly)
    try:
        client.grpc_points.Upsert(write, timeout=server_address().timeout)
    except grpc.RpcError as error:
        return _is_strict_mode(error.details() or "")
    return False


def _vector(found: CollectionInfo) -> VectorStruct:
    """Return a vector that the collection accepts, whatever its size and names are."""
    vectors = found.config.params.vectors
    if isinstance(vectors, VectorParams):
        return [1.0] * vectors.size
    return {name: [1.0] * one.size for name, one in (vectors or {}).items()}


def _is_strict_mode(answer: str) -> bool:
    return "upsert" in answer.lower() and "limit" in answer.lower()
