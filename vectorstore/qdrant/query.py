"""Nearest points by REST, gRPC or the embedded store, without the slow parts of qdrant-client.

qdrant-client would create a model for each point and check each number of the query vector.

A point whose vector has a NaN has the score NaN, and Qdrant returns it before all others. By REST the score is ``null``, which qdrant-client
rejects as an invalid answer.
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
"""The id of a point and its score as a 32-bit float, which may be NaN.

gRPC sends 32 bits, REST decimal digits, and the embedded store returns more bits.
"""

SCORE = struct.Struct("<f")


@dataclass(frozen=True, slots=True)
class VectorQuery:
    """A query for the ``limit`` points nearest to ``direction`` that match the ``conditions``.

    It uses the HNSW graph with ``hnsw_ef`` (None: the collection's setting), or is ``exact``. The embedded store is always exact.
    """

    direction: Sequence[float]
    limit: int
    conditions: Filter | None = None
    hnsw_ef: int | None = None
    exact: bool = False


def candidates(client: QdrantClient, collection: str, queries: Sequence[VectorQuery]) -> list[list[Candidate]]:
    """Return the points of each query, the best first. Raise the driver's errors."""
    if is_embedded():
        return [_by_client(client, collection, query) for query in queries]
    return (_by_grpc if server_address().grpc_port else _by_rest)(client, collection, queries)


def _by_client(client: QdrantClient, collection: str, query: VectorQuery) -> list[Candidate]:
    answer = client.query_points(collection, list(query.direction), query_filter=query.conditions, limit=query.limit, with_payload=False)
    return _rounded((point.id, point.score) for point in answer.points)


def _by_rest(client: QdrantClient, collection: str, queries: Sequence[VectorQuery]) -> list[list[Candidate]]:
    answer: dict[str, Any] = client.http.client.request(
        type_=dict[str, Any],
        method="POST",
        url="/collections/{collection_name}/points/query/batch",
        path_params={"collection_name": collection},
        headers={"Content-Type": "application/json"},
        content=json.dumps({"searches": [_json(query) for query in queries]}),
    )
    return [
        _rounded((point["id"], math.nan if point["score"] is None else point["score"]) for point in result["points"])
        for result in answer["result"]
    ]


def _json(query: VectorQuery) -> dict[str, Any]:
    conditions = None if query.conditions is None else query.conditions.model_dump(mode="json", exclude_none=True)
    params = {"hnsw_ef": query.hnsw_ef, "exact": query.exact}
    return {"query": list(query.direction), "limit": query.limit, "filter": conditions, "params": params}


def _rounded(found: Iterable[Candidate]) -> list[Candidate]:
    return [(point_id, SCORE.unpack(SCORE.pack(score))[0]) for point_id, score in found]


def _by_grpc(client: QdrantClient, collection: str, queries: Sequence[VectorQuery]) -> list[list[Candidate]]:
    requests = [_message(collection, query) for query in queries]
    timeout = server_address().timeout
    if len(requests) == 1:
        return [_candidates_in(client.grpc_points.Query(requests[0], timeout=timeout))]
    batch = grpc.QueryBatchPoints(collection_name=collection, query_points=requests)
    return [_candidates_in(answer) for answer in client.grpc_points.QueryBatch(batch, timeout=timeout).result]


def _message(collection: str, query: VectorQuery) -> grpc.QueryPoints:
    params = grpc.SearchParams(hnsw_ef=query.hnsw_ef, exact=query.exact)
    message = grpc.QueryPoints(collection_name=collection, limit=query.limit, params=params)
    message.query.nearest.dense.data.extend(query.direction)
    if query.conditions is not None:
        message.filter.CopyFrom(RestToGrpc.convert_filter(query.conditions))
    return message


def _candidates_in(answer: Any) -> list[Candidate]:
    return [(point.id.uuid or point.id.num, point.score) for point in answer.result]
