"""Candidates of a search as Qdrant has them. By REST as JSON has them: the score of a point whose vector has a NaN comes as ``null``, which
qdrant-client takes for an answer of no Qdrant; and such a point stands before all others."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from qdrant_client import QdrantClient
from qdrant_client.models import QueryRequest, ScoredPoint

from vectorstore.address import server_address
from vectorstore.connection import is_embedded


def candidates(client: QdrantClient, collection: str, requests: Sequence[QueryRequest]) -> list[list[ScoredPoint]]:
    """For each of REQUESTS its points without payload or vector, the best first. A score may be NaN, which is no likeness."""
    if not is_embedded() and not server_address().grpc_port:
        return _by_rest(client, collection, requests)
    if len(requests) > 1:
        return [answer.points for answer in client.query_batch_points(collection, requests)]
    (one,) = requests  # of many, the client copies each number of each vector
    answer = client.query_points(
        collection,
        query=one.query,
        query_filter=one.filter,
        search_params=one.params,
        limit=one.limit or 0,
        with_payload=False,
    )
    return [answer.points]


def _by_rest(client: QdrantClient, collection: str, requests: Sequence[QueryRequest]) -> list[list[ScoredPoint]]:
    answer: dict[str, Any] = client.http.client.request(
        type_=dict[str, Any],
        method="POST",
        url="/collections/{collection_name}/points/query/batch",
        path_params={"collection_name": collection},
        headers={"Content-Type": "application/json"},
        content=json.dumps({"searches": [one.model_dump(mode="json", exclude_none=True) for one in requests]}),
    )
    return [[_point(point) for point in one["points"]] for one in answer["result"]]


def _point(found: dict[str, Any]) -> ScoredPoint:
    score = found["score"]
    return ScoredPoint.model_construct(id=found["id"], version=found["version"], score=math.nan if score is None else score)
