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

BATCH_SIZE = 10
"""Vectors of one request, which has two queries of each. The server runs them at the same time."""

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
    for start in range(0, len(vectors), BATCH_SIZE):
        batch = vectors[start : start + BATCH_SIZE]
        found += sum(_share(exact, approximate) for exact, approximate in _nearest(client, collection, batch))
        report(start + len(batch), len(vectors))
    return found / len(vectors)


def _nearest(client: QdrantClient, collection: str, vectors: Vectors) -> list[tuple[list[Candidate], list[Candidate]]]:
    """Return the ten nearest points of each vector, by an exact search and by an approximate one, at the same time.

    Qdrant returns points of vectors with a NaN first. They are skipped.
    """
    queries = [(own_id, vector, exact) for own_id, vector in vectors for exact in (True, False)]
    found = candidates(client, collection, [VectorQuery(vector, NEAREST + 1, exact=exact) for _, vector, exact in queries])
    nearest = []
    for (own_id, vector, exact), first in zip(queries, found, strict=True):
        result, limit = first, NEAREST + 1
        while len(others := _others(result, own_id)) < NEAREST and len(result) >= limit:
            limit *= 2
            (result,) = candidates(client, collection, [VectorQuery(vector, limit, exact=exact)])
        nearest.append(others[:NEAREST])
    return list(zip(nearest[::2], nearest[1::2], strict=True))


def _others(found: Sequence[Candidate], own_id: str) -> list[Candidate]:
    return [(point_id, score) for point_id, score in found if str(point_id) != own_id and math.isfinite(score)]


def _share(exact: Sequence[Candidate], found: Sequence[Candidate]) -> float:
    """Return which share of the expected points was found. A point with the score of the last expected one counts as found."""
    if not exact:
        return 1.0
    _, last = exact[-1]
    return sum(score >= last - SCORE_TOLERANCE for _, score in found) / len(exact)
