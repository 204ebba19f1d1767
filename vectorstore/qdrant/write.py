"""What is sent to Qdrant of people's points, as conditional writes (protocol, rule 4): a point whose version is that of the sender or a higher one is
left as it is. One without a version is not spared. On a cluster in an order that all replicas keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qdrant_client import QdrantClient, grpc
from qdrant_client.local.payload_filters import check_filter
from qdrant_client.models import (
    ExtendedPointId,
    FieldCondition,
    Filter,
    FilterSelector,
    HasIdCondition,
    PointIdsList,
    PointStruct,
    Range,
    Record,
    WriteOrdering,
)

from vectorstore.models import VECTOR_SIZE
from vectorstore.qdrant.address import server_address
from vectorstore.qdrant.connection import is_embedded


def upsert(client: QdrantClient, collection: str, points: Sequence[Point], version: int) -> None:
    """Returns when they are applied. Raises what the driver raises."""
    if _by_grpc():
        client.grpc_points.Upsert(request(collection, points, version), timeout=server_address().timeout)
        return
    client.upsert(
        collection,
        [point.as_rest() for point in points],
        wait=True,
        update_filter=Filter(must_not=[_newer(version)]),
        ordering=WriteOrdering.MEDIUM,
    )


def delete(client: QdrantClient, collection: str, ids: Sequence[ExtendedPointId], version: int) -> None:
    """Returns when it is applied. Raises what the driver raises.

    The embedded store, which nobody else can write meanwhile, is asked for these points by their ids: it compares the ids of a filter with every
    point that it has, one by one.
    """
    condition = Filter(must_not=[_newer(version)])
    if is_embedded():
        older = [
            record.id for record in _retrieved(client, collection, ids) if check_filter(condition, record.payload or {}, record.id, {})
        ]
        if older:  # qdrant-client 1.20 refuses an empty list
            client.delete(collection, PointIdsList(points=older), wait=True, ordering=WriteOrdering.MEDIUM)
        return
    gone = Filter(must=[HasIdCondition(has_id=list(ids))], must_not=[_newer(version)])
    client.delete(collection, FilterSelector(filter=gone), wait=True, ordering=WriteOrdering.MEDIUM)


def count_of(client: QdrantClient, collection: str, ids: Sequence[ExtendedPointId], version: int) -> int:
    """How many of these points have that VERSION. Raises what the driver raises."""
    if _by_grpc():
        mine = grpc.Condition(field=grpc.FieldCondition(key="version", range=grpc.Range(gte=version, lte=version)))
        these = grpc.Condition(has_id=grpc.HasIdCondition(has_id=[grpc.PointId(uuid=str(point_id)) for point_id in ids]))
        message = grpc.CountPoints(collection_name=collection, filter=grpc.Filter(must=[these, mine]), exact=True)
        found: int = client.grpc_points.Count(message, timeout=server_address().timeout).result.count
        return found
    if is_embedded():
        return sum((record.payload or {}).get("version") == version for record in _retrieved(client, collection, ids))
    condition = Filter(must=[HasIdCondition(has_id=list(ids)), FieldCondition(key="version", range=Range(gte=version, lte=version))])
    return client.count(collection, count_filter=condition, exact=True).count


def _retrieved(client: QdrantClient, collection: str, ids: Sequence[ExtendedPointId]) -> list[Record]:
    return client.retrieve(collection, list(ids), with_payload=["version"], with_vectors=False)


def clear(client: QdrantClient, collection: str, ids: Sequence[ExtendedPointId]) -> None:
    """Delete points whatever version they claim to have: for such as no worker can have written (``versions.has_unbeatable_version``), which no
    conditional write could beat. Whoever does it holds their people. Raises what the driver raises."""
    client.delete(collection, PointIdsList(points=list(ids)), wait=True, ordering=WriteOrdering.MEDIUM)


def _by_grpc() -> bool:
    return not is_embedded() and bool(server_address().grpc_port)


def _newer(version: int) -> FieldCondition:
    return FieldCondition(key="version", range=Range(gte=version))


def request(collection: str, points: Sequence[Point], version: int) -> grpc.UpsertPoints:
    """The message of an upsert."""
    newer = grpc.Condition(field=grpc.FieldCondition(key="version", range=grpc.Range(gte=version)))
    request = grpc.UpsertPoints(
        collection_name=collection,
        wait=True,
        update_filter=grpc.Filter(must_not=[newer]),
        ordering=grpc.WriteOrdering(type=grpc.WriteOrderingType.Medium),
    )
    for point in points:
        point.put_into(request.points.add())
    return request


PACKED = 4 * VECTOR_SIZE
"""Bytes of a vector's numbers in a message: little-endian float32, one after the other."""
BEFORE_NUMBERS = grpc.Vectors(vector=grpc.Vector(dense=grpc.DenseVector(data=[0.0] * VECTOR_SIZE))).SerializeToString()[:-PACKED]
"""What stands before them: a message of one field ends with its numbers."""


@dataclass(frozen=True, slots=True)
class Point:
    """``id`` is a UUID as text; ``vector`` (512) has length 1; ``payload`` is of what JSON has."""

    id: str
    vector: NDArray[np.float64]
    payload: dict[str, Any]

    def as_rest(self) -> PointStruct:
        """Of checked numbers, which pydantic would check again."""
        return PointStruct.model_construct(id=self.id, vector=self.vector.tolist(), payload=self.payload)

    def put_into(self, message: grpc.PointStruct) -> None:
        """Into an empty one, field by field: a message that is made of others copies them. Raises TypeError for what JSON has not."""
        message.id.uuid = self.id
        message.vectors.MergeFromString(BEFORE_NUMBERS + self.vector.astype("<f4").tobytes())
        for name, value in self.payload.items():
            _put(value, message.payload[name])


def _put(value: object, message: grpc.Value) -> None:
    match value:
        case str():
            message.string_value = value
        case bool():
            message.bool_value = value
        case int():
            message.integer_value = value
        case float():
            message.double_value = value
        case None:
            message.null_value = grpc.NULL_VALUE
        case list():
            message.list_value.SetInParent()
            for inner in value:
                _put(inner, message.list_value.values.add())
        case dict():
            message.struct_value.SetInParent()
            for name, inner in value.items():
                _put(inner, message.struct_value.fields[name])
        case _:
            raise TypeError(f"{value!r} cannot stand in a payload")
