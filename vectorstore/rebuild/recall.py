"""How many of the ten people most like somebody a search finds, against a comparison with everyone."""

from __future__ import annotations

import math
from collections.abc import Sequence

from qdrant_client import QdrantClient
from qdrant_client.models import Sample, SampleQuery

from findme.core.commands.progress import Report, ignore_progress
from vectorstore.qdrant.connection import is_embedded
from vectorstore.qdrant.query import Candidate, VectorQuery, candidates

NEAREST = 10
SAMPLED = 200
"""Vectors that are searched by: 2,000 answers, of which one in a hundred is 20."""
ALIKE = 1e-6
"""Scores that differ by less are equal: which of two such people is found says nothing."""

Vectors = Sequence[tuple[str, list[float]]]


def sampled_vectors(client: QdrantClient, collection: str, how_many: int = SAMPLED) -> Vectors:
    """Vectors of real people, at random, each with the id of its point."""
    found = client.query_points(
        collection, query=SampleQuery(sample=Sample.RANDOM), limit=how_many, with_payload=False, with_vectors=True
    ).points
    return [(str(point.id), point.vector) for point in found if isinstance(point.vector, list)]  # type: ignore[misc]  # one vector, not several


def recall(client: QdrantClient, collection: str, vectors: Vectors, report: Report = ignore_progress) -> float:
    """Recall@10 of COLLECTION for these VECTORS, from 0 to 1, whoever a vector is of left out. The embedded store compares with everyone as it is."""
    if is_embedded() or not vectors:
        return 1.0
    found = 0.0
    for done, (own_id, vector) in enumerate(vectors, 1):
        exact = _others(client, collection, own_id, vector, exact=True)
        found += _share(exact, _others(client, collection, own_id, vector, exact=False))
        report(done, len(vectors))
    return found / len(vectors)


def _others(client: QdrantClient, collection: str, own_id: str, vector: list[float], *, exact: bool) -> list[Candidate]:
    """The ten. Points of vectors with a NaN stand before them, and are like nobody."""
    limit = NEAREST + 1
    while True:
        (found,) = candidates(client, collection, [VectorQuery(vector, limit, exact=exact)])
        others = [(point_id, score) for point_id, score in found if str(point_id) != own_id and math.isfinite(score)]
        if len(others) >= NEAREST or len(found) < limit:
            return others[:NEAREST]
        limit *= 2


def _share(exact: Sequence[Candidate], found: Sequence[Candidate]) -> float:
    """Of those who are to be found, how many were: whoever is as like as the last of them is right as well."""
    if not exact:
        return 1.0
    _, last = exact[-1]
    return sum(score >= last - ALIKE for _, score in found) / len(exact)
