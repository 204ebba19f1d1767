"""Candidates of a search as Qdrant has them, by the shortest way: qdrant-client would make a model of each, and look at each number of the vector.

The score of a point whose vector has a NaN is NaN, and such a point stands before all others. By REST it comes as ``null``, which qdrant-client
takes for an answer of no Qdrant.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from qdrant_client import QdrantClient, grpc
from qdrant_client.conversions.conversion import RestToGrpc
from qdrant_client.models import ExtendedPointId, Filter

from vectorstore.qdrant.address import server_address
from vectorstore.qdrant.connection import is_embedded

Candidate: TypeAlias = tuple[ExtendedPointId, float]
"""The id of a point, and its score as 32 bits have it: by gRPC it comes so, by REST in decimal digits, and in the embedded store it has more. It may be
NaN."""

SCORE = struct.Struct("<f")


@dataclass(frozen=True, slots=True)
class VectorQuery:
    """The LIMIT points that are nearest to DIRECTION, among those that meet the CONDITIONS. By the graph, searched as widely as HNSW_EF
    says (None: as the collection says), or EXACT, as the embedded store always does it."""

    direction: Sequence[float]
    limit: int
    conditions: Filter | None = None
    hnsw_ef: int | None = None
    exact: bool = False


def candidates(client: QdrantClient, collection: str, queries: Sequence[VectorQuery]) -> list[list[Candidate]]:
    """For each of QUERIES its points, the best first. Raises what the driver raises."""
    if is_embedded():
        return [_by_client(client, collection, one) for one in queries]
    return (_by_grpc if server_address().grpc_port else _by_rest)(client, collection, queries)


def _by_client(client: QdrantClient, collection: str, one: VectorQuery) -> list[Candidate]:
    answer = client.query_points(collection, list(one.direction), query_filter=one.conditions, limit=one.limit, with_payload=False)
    return _rounded((point.id, point.score) for point in answer.points)


def _by_rest(client: QdrantClient, collection: str, queries: Sequence[VectorQuery]) -> list[list[Candidate]]:
    answer: dict[str, Any] = client.http.client.request(
        type_=dict[str, Any],
        method="POST",
        url="/collections/{collection_name}/points/query/batch",
        path_params={"collection_name": collection},
        headers={"Content-Type": "application/json"},
        content=json.dumps({"searches": [_json(one) for one in queries]}),
    )
    return [
        _rounded((point["id"], math.nan if point["score"] is None else point["score"]) for point in one["points"])
        for one in answer["result"]
    ]


def _json(one: VectorQuery) -> dict[str, Any]:
    conditions = None if one.conditions is None else one.conditions.model_dump(mode="json", exclude_none=True)
    return {"query": list(one.direction), "limit": one.limit, "filter": conditions, "params": {"hnsw_ef": one.hnsw_ef, "exact": one.exact}}


def _rounded(found: Iterable[Candidate]) -> list[Candidate]:
    return [(point_id, SCORE.unpack(SCORE.pack(score))[0]) for point_id, score in found]


def _by_grpc(client: QdrantClient, collection: str, queries: Sequence[VectorQuery]) -> list[list[Candidate]]:
    requests = [_message(collection, one) for one in queries]
    timeout = server_address().timeout
    if len(requests) == 1:
        return [_of(client.grpc_points.Query(requests[0], timeout=timeout))]
    together = grpc.QueryBatchPoints(collection_name=collection, query_points=requests)
    return [_of(one) for one in client.grpc_points.QueryBatch(together, timeout=timeout).result]


def _message(collection: str, one: VectorQuery) -> grpc.QueryPoints:
    message = grpc.QueryPoints(collection_name=collection, limit=one.limit, params=grpc.SearchParams(hnsw_ef=one.hnsw_ef, exact=one.exact))
    message.query.nearest.dense.data.extend(one.direction)
    if one.conditions is not None:
        message.filter.CopyFrom(RestToGrpc.convert_filter(one.conditions))
    return message


def _of(answer: Any) -> list[Candidate]:
    return [(point.id.uuid or point.id.num, point.score) for point in answer.result]
