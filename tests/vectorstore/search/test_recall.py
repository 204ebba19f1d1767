"""What a search through the graph finds, against an exact one, on clustered vectors: with and without criteria, on a server."""

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

PEOPLE, SEARCHES, BATCH = 5000, 40, 500
GRAPHS_FROM_KB = 1000
"""So that there are graphs, which answer also where there are criteria: they are for segments of 10,000 KB and more otherwise."""


@pytest.fixture
def graph(qdrant_server_grpc: QdrantServer) -> None:
    initialize()
    random = np.random.default_rng(7)
    points = [
        PointStruct(
            id=str(UUID(int=number + 1)),
            vector=vector.tolist(),
            payload={"active": True, "verified": True, "gender": str(gender), "age": int(age)},
        )
        for number, (vector, gender, age) in enumerate(
            zip(clustered(PEOPLE), random.choice(["female", "male"], PEOPLE), random.integers(20, 60, PEOPLE), strict=True)
        )
    ]
    with qdrant() as client:
        collection = live_collection(client)
        client.update_collection(
            collection,
            optimizers_config=OptimizersConfigDiff(indexing_threshold=GRAPHS_FROM_KB),
            hnsw_config=HnswConfigDiff(full_scan_threshold=GRAPHS_FROM_KB),
        )
        for start in range(0, PEOPLE, BATCH):
            client.upsert(collection, points[start : start + BATCH], wait=True)
        wait_for_green()
        assert (client.get_collection(collection).indexed_vectors_count or 0) > PEOPLE / 2


@pytest.mark.django_db
@pytest.mark.qdrant_server
def test_recall__at_10_is_at_least_0_97_with_and_without_criteria(graph: None) -> None:
    asked = clustered(SEARCHES, seed=6)
    like_nobody = np.random.default_rng(8).standard_normal(asked.shape).astype(np.float32)
    assert recall_and_seconds(like_nobody, {}, 12)[0] < 0.97  # or it is no graph that answers
    widths = {name: hnsw_ef_for(SearchQuery(vector=asked[0], **criteria)) for name, criteria in CRITERIA.items()}
    recalls = {name: recall_and_seconds(asked, criteria, widths[name])[0] for name, criteria in CRITERIA.items()}
    assert all(recall >= 0.97 for recall in recalls.values()), (widths, recalls)
