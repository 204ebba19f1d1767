"""Recall@10, compared with exact search."""

from __future__ import annotations

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from tests.support.collections import version
from vectorstore.models import VECTOR_SIZE
from vectorstore.qdrant.connection import qdrant
from vectorstore.qdrant.query import Candidate
from vectorstore.rebuild.build import wait_for_graphs
from vectorstore.rebuild.recall import _share, recall, sampled_vectors

pytestmark = pytest.mark.django_db

SEED, COUNT = 4, 3000


def scored(*scores: float) -> list[Candidate]:
    return list(enumerate(scores))


def test_share__is_the_part_of_the_nearest_points_that_was_found() -> None:
    assert _share(scored(0.9, 0.8, 0.7, 0.6), scored(0.9, 0.8, 0.5, 0.4)) == 0.5
    assert _share(scored(0.9, 0.8), scored(0.9, 0.8 - 1e-7)) == 1.0  # a difference within rounding
    assert _share(scored(0.9, 0.8), []) == 0.0
    assert _share([], []) == 1.0


def create_filled(client: QdrantClient, name: str, hnsw: models.HnswConfigDiff) -> None:
    """Create a collection of independent random vectors, which a poor graph finds badly.

    The low threshold makes Qdrant build a graph although there are few vectors.
    """
    client.create_collection(
        name,
        vectors_config=models.VectorParams(size=VECTOR_SIZE, distance=models.Distance.COSINE),
        hnsw_config=hnsw,
        optimizers_config=models.OptimizersConfigDiff(indexing_threshold=100, default_segment_number=1),
    )
    vectors = np.random.default_rng(SEED).standard_normal((COUNT, VECTOR_SIZE))
    for start in range(0, COUNT, 500):
        points = [models.PointStruct(id=number, vector=vectors[number].tolist()) for number in range(start, start + 500)]
        client.upsert(name, points, wait=True)
    wait_for_graphs(name, 60)


@pytest.mark.qdrant_server
def test_recall__tells_a_good_graph_from_a_poor_one(qdrant_server_grpc: object) -> None:
    with qdrant() as client:
        create_filled(client, version(1), models.HnswConfigDiff(m=32, ef_construct=400, full_scan_threshold=10))
        create_filled(client, version(2), models.HnswConfigDiff(m=2, ef_construct=4, full_scan_threshold=10))
        vectors = sampled_vectors(client, version(1), 50)
        assert len({own_id for own_id, _ in vectors}) == 50
        good, poor = recall(client, version(1), vectors), recall(client, version(2), vectors)
    assert poor < 0.6 < 0.8 < good


def test_recall__embedded__is_1(embedded_qdrant: object) -> None:
    with qdrant() as client:
        client.create_collection(version(1), vectors_config=models.VectorParams(size=VECTOR_SIZE, distance=models.Distance.COSINE))
        assert recall(client, version(1), sampled_vectors(client, version(1))) == 1.0
