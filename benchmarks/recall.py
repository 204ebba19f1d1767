"""Recall@10 of searches through the graph, with and without criteria, by ``hnsw_ef``. Baseline: exact searches.

Recall is the part of the ten users of the exact search that the graph finds too, as a mean over all searches. The vectors are clustered. This
needs a server, because the embedded store has no graph. A segment has a graph from about 5,000 vectors on. GOAL: at least 0.97 with the
``hnsw_ef`` that a search sends. It is printed first.

    QDRANT_URL=... [QDRANT_GRPC_PORT=...] python -m benchmarks.recall [--users 20000] [--searches 200]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
from django.conf import settings
from numpy.typing import NDArray

from benchmarks.program import run
from benchmarks.scratch import start
from findme.core.errors import UserFacingError

if TYPE_CHECKING:  # the client takes most of a second to import
    from qdrant_client import models

GOAL = 0.97
LIMIT = 10
CRITERIA: Mapping[str, Mapping[str, Any]] = {
    "nothing but the vector": {},
    "gender": {"genders": ["female"]},
    "gender and age": {"genders": ["female"], "min_age": 30, "max_age": 45},
    "gender and one year of age": {"genders": ["female"], "min_age": 30, "max_age": 30},
}


def main() -> None:
    options = _options()
    start()
    from benchmarks.filled import filled_stores
    from benchmarks.users import clustered
    from vectorstore.search.criteria import SearchQuery
    from vectorstore.search.paging import hnsw_ef_for

    if not settings.QDRANT_URL:
        raise UserFacingError("QDRANT_URL is not set, and the embedded store has no graph: every search in it is exact. Set QDRANT_URL.")
    with filled_stores(options.users) as (kind, _):
        asked = clustered(options.searches, seed=6)
        sys.stdout.write(f"recall@{LIMIT} of {options.users:,} users ({_indexed():,} in graphs), {options.searches} searches; {kind}\n")
        for name, criteria in CRITERIA.items():
            ours = hnsw_ef_for(SearchQuery(vector=asked[0], **criteria))
            for hnsw_ef in (ours, 32, 64, 128, 224, 512):
                recall, seconds = recall_and_seconds(asked, criteria, hnsw_ef)
                aim = f" (a search's; goal: at least {GOAL})" if hnsw_ef == ours else ""
                sys.stdout.write(f"  {name}: hnsw_ef {hnsw_ef:3}: {recall:.3f}, {1000 * seconds:.2f} ms{aim}\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--searches", type=int, default=200)
    return parser.parse_args()


def recall_and_seconds(asked: NDArray[np.float32], criteria: Mapping[str, Any], hnsw_ef: int) -> tuple[float, float]:
    """Return the mean recall, and the mean seconds of a search through the graph."""
    from qdrant_client import models

    exact, _ = _found(asked, criteria, models.SearchParams(exact=True))
    through_the_graph, seconds = _found(asked, criteria, models.SearchParams(hnsw_ef=hnsw_ef))
    return recall(exact, through_the_graph), seconds / len(asked)


def recall(exact: Sequence[set[UUID]], found: Sequence[set[UUID]]) -> float:
    return float(np.mean([len(right & these) / len(right) for right, these in zip(exact, found, strict=True) if right]))


def _found(asked: NDArray[np.float32], criteria: Mapping[str, Any], params: models.SearchParams) -> tuple[list[set[UUID]], float]:
    from vectorstore.qdrant.connection import collection_name, qdrant
    from vectorstore.search.criteria import SearchQuery
    from vectorstore.search.filter import filter_of

    found = []
    with qdrant() as client:
        begun = time.perf_counter()
        for vector in asked:
            conditions = filter_of(SearchQuery(vector=vector, **criteria))
            answer = client.query_points(
                collection_name(), vector.tolist(), query_filter=conditions, search_params=params, limit=LIMIT, with_payload=False
            )
            found.append({UUID(str(point.id)) for point in answer.points})
        return found, time.perf_counter() - begun


def _indexed() -> int:
    from vectorstore.qdrant.connection import collection_name, qdrant

    with qdrant() as client:
        return client.get_collection(collection_name()).indexed_vectors_count or 0


if __name__ == "__main__":
    run(main)
