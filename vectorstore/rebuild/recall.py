"""Recall: how many of the ten nearest users an approximate search finds, compared with an exact one."""

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
"""Number of query vectors. They give 2,000 results, so 1 % of recall is 20 results."""
SCORE_TOLERANCE = 1e-6
"""Scores that differ by less are equal. Which of two such users is found says nothing about recall."""

Vectors = Sequence[tuple[str, list[float]]]


def sampled_vectors(client: QdrantClient, collection: str, count: int = SAMPLED) -> Vectors:
    """Return vectors of existing users at random, each with the id of its point."""
    found = client.query_points(
        collection, query=SampleQuery(sample=Sample.RANDOM), limit=count, with_payload=False, with_vectors=True
    ).points
    return [(str(point.id), point.vector) for point in found if isinstance(point.vector, list)]  # type: ignore[misc]  # one vector, not several


def recall(client: QdrantClient, collection: str, vectors: Vectors, report: Report = ignore_progress) -> float:
    """Return recall@10 of the collection for ``vectors``, from 0 to 1. A vector's own point does not count.

    The embedded store always searches exactly, so its recall is 1.
    """
    if is_embedded() or not vectors:
        return 1.0
    found = 0.0
    for done, (own_id, vector) in enumerate(vectors, 1):
        exact = _nearest(client, collection, own_id, vector, exact=True)
        found += _share(exact, _nearest(client, collection, own_id, vector, exact=False))
        report(done, len(vectors))
    return found / len(vectors)


def _nearest(client: QdrantClient, collection: str, own_id: str, vector: list[float], *, exact: bool) -> list[Candidate]:
    """Return the ten nearest points. Qdrant returns points of vectors with a NaN first. They are skipped."""
    limit = NEAREST + 1
    while True:
        (found,) = candidates(client, collection, [VectorQuery(vector, limit, exact=exact)])
        nearest = [(point_id, score) for point_id, score in found if str(point_id) != own_id and math.isfinite(score)]
        if len(nearest) >= NEAREST or len(found) < limit:
            return nearest[:NEAREST]
        limit *= 2


def _share(exact: Sequence[Candidate], found: Sequence[Candidate]) -> float:
    """Return which share of the expected points was found. A point with the score of the last expected one counts as found."""
    if not exact:
        return 1.0
    _, last = exact[-1]
    return sum(score >= last - SCORE_TOLERANCE for _, score in found) / len(exact)
