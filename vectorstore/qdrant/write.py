"""Conditional upserts and deletions of points (protocol rule 4).

Qdrant keeps a point that has the sender's version or a higher one. A point without a version is always replaced or deleted. On a cluster, all
replicas apply the writes in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qdrant_client import QdrantClient, grpc
from qdrant_client.conversions.conversion import GrpcToRest
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
    """Upsert the points and wait until Qdrant has applied them. Raise the driver's errors."""
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
    """Delete the points and wait until Qdrant has applied it. Raise the driver's errors.

    In the embedded store the points are retrieved by their ids first, and the condition is checked here. The store would compare the ids of a
    filter with each of its points. No other process can write to it in between.
    """
    condition = Filter(must_not=[_newer(version)])
    if is_embedded():
        older = [
            record.id for record in versions_of(client, collection, ids) if check_filter(condition, record.payload or {}, record.id, {})
        ]
        if older:  # qdrant-client 1.20 refuses an empty list
            client.delete(collection, PointIdsList(points=older), wait=True, ordering=WriteOrdering.MEDIUM)
        return
    gone = Filter(must=[HasIdCondition(has_id=list(ids))], must_not=[_newer(version)])
    client.delete(collection, FilterSelector(filter=gone), wait=True, ordering=WriteOrdering.MEDIUM)


def count_of(client: QdrantClient, collection: str, ids: Sequence[ExtendedPointId], version: int) -> int:
    """Return how many of these points have ``version``. Raise the driver's errors."""
    if _by_grpc():
        has_version = grpc.Condition(field=grpc.FieldCondition(key="version", range=grpc.Range(gte=version, lte=version)))
        has_id = grpc.Condition(has_id=grpc.HasIdCondition(has_id=[grpc.PointId(uuid=str(point_id)) for point_id in ids]))
        message = grpc.CountPoints(collection_name=collection, filter=grpc.Filter(must=[has_id, has_version]), exact=True)
        found: int = client.grpc_points.Count(message, timeout=server_address().timeout).result.count
        return found
    if is_embedded():
        return sum((record.payload or {}).get("version") == version for record in versions_of(client, collection, ids))
    condition = Filter(must=[HasIdCondition(has_id=list(ids)), FieldCondition(key="version", range=Range(gte=version, lte=version))])
    return client.count(collection, count_filter=condition, exact=True).count


def versions_of(client: QdrantClient, collection: str, ids: Sequence[ExtendedPointId]) -> list[Record]:
    """Return those of the points that exist, with no more of the payload than the version. Raise the driver's errors.

    By gRPC, the client converts many ids in ten times the time.
    """
    if len(ids) == 1 or not _by_grpc():
        return client.retrieve(collection, list(ids), with_payload=["version"], with_vectors=False)
    message = grpc.GetPoints(
        collection_name=collection,
        ids=[grpc.PointId(uuid=str(point_id)) for point_id in ids],
        with_payload=grpc.WithPayloadSelector(include=grpc.PayloadIncludeSelector(fields=["version"])),
        with_vectors=grpc.WithVectorsSelector(enable=False),
    )
    found = client.grpc_points.Get(message, timeout=server_address().timeout).result
    return [GrpcToRest.convert_retrieved_point(point) for point in found]


def clear(client: QdrantClient, collection: str, ids: Sequence[ExtendedPointId]) -> None:
    """Delete points without a condition on their version. Raise the driver's errors.

    This is for versions that no worker can have written and no conditional write can exceed (``versions.has_unbeatable_version``). The caller
    must hold the leases of the users.
    """
    client.delete(collection, PointIdsList(points=list(ids)), wait=True, ordering=WriteOrdering.MEDIUM)


def _by_grpc() -> bool:
    return not is_embedded() and bool(server_address().grpc_port)


def _newer(version: int) -> FieldCondition:
    return FieldCondition(key="version", range=Range(gte=version))


def request(collection: str, points: Sequence[Point], version: int) -> grpc.UpsertPoints:
    """Return the gRPC message of an upsert."""
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
"""The bytes before the numbers: a message with one packed field ends with its numbers."""


@dataclass(frozen=True, slots=True)
class Point:
    """A point. ``id`` is a UUID as text, ``vector`` (512) has length 1, and ``payload`` contains JSON types only."""

    id: str
    vector: NDArray[np.float64]
    payload: dict[str, Any]

    def as_rest(self) -> PointStruct:
        """Return the point for REST. The numbers are checked already, so pydantic's validation is skipped."""
        return PointStruct.model_construct(id=self.id, vector=self.vector.tolist(), payload=self.payload)

    def put_into(self, message: grpc.PointStruct) -> None:
        """Fill an empty ``message`` field by field. A message that is built from other messages would copy them.

        Raise TypeError for a value that JSON does not have.
        """
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
            raise TypeError(f"{value!r} cannot be stored in a payload")
