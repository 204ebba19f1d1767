"""Recall of a search through the graph against an exact search, on clustered vectors, with and without criteria."""

from __future__ import annotations

from uuid import UUID

import numpy as np
import pytest
from qdrant_client.models import HnswConfigDiff, OptimizersConfigDiff, PointStruct

from benchmarks.filled import wait_for_green
from benchmarks.recall import CRITERIA, recall_and_seconds
from benchmarks.users import clustered
from tests.qdrant import QdrantServer
from vectorstore.catalog.alias import live_collection
from vectorstore.qdrant.connection import qdrant
from vectorstore.schema.initialize import initialize
from vectorstore.search.criteria import SearchQuery
from vectorstore.search.paging import hnsw_ef_for

USER_COUNT, SEARCHES, BATCH = 5000, 40, 500
GRAPHS_FROM_KB = 1000
"""A low threshold, so that Qdrant builds and uses graphs. The default is for segments of 10,000 KB and more."""


@pytest.fixture
def graph(qdrant_server_grpc: QdrantServer) -> None:
    initialize()
    rng = np.random.default_rng(7)
    points = [
        PointStruct(
            id=str(UUID(int=number + 1)),
            vector=vector.tolist(),
            payload={"active": True, "verified": True, "gender": str(gender), "age": int(age)},
        )
        for number, (vector, gender, age) in enumerate(
            zip(clustered(USER_COUNT), rng.choice(["female", "male"], USER_COUNT), rng.integers(20, 60, USER_COUNT), strict=True)
        )
    ]
    with qdrant() as client:
        collection = live_collection(client)
        client.update_collection(
            collection,
            optimizers_config=OptimizersConfigDiff(indexing_threshold=GRAPHS_FROM_KB),
            hnsw_config=HnswConfigDiff(full_scan_threshold=GRAPHS_FROM_KB),
        )
        for start in range(0, USER_COUNT, BATCH):
            client.upsert(collection, points[start : start + BATCH], wait=True)
        wait_for_green()
        assert (client.get_collection(collection).indexed_vectors_count or 0) > USER_COUNT / 2


@pytest.mark.django_db
@pytest.mark.qdrant_server
def test_recall__at_10__is_at_least_0_97_with_and_without_criteria(graph: None) -> None:
    queries = clustered(SEARCHES, seed=6)
    unlike_all_users = np.random.default_rng(8).standard_normal(queries.shape).astype(np.float32)
    assert recall_and_seconds(unlike_all_users, {}, 12)[0] < 0.97  # otherwise Qdrant did not use a graph
    widths = {name: hnsw_ef_for(SearchQuery(vector=queries[0], **criteria)) for name, criteria in CRITERIA.items()}
    recalls = {name: recall_and_seconds(queries, criteria, widths[name])[0] for name, criteria in CRITERIA.items()}
    assert all(recall >= 0.97 for recall in recalls.values()), (widths, recalls)
