"""Time of a search with a given vector. Baseline: a bare ``query_points`` with the same limit.

The search checks the query, asks Qdrant for candidates with a filter and some spare ones, and asks PostgreSQL about each of them. The bare call
has the same vector, and the same filter if there are criteria. Both run in turn. GOAL: at most 1.3 times the time of the bare call, or 1 ms
more, whichever is greater.

    [QDRANT_URL=... [QDRANT_GRPC_PORT=...]] python -m benchmarks.search [--users 12000] [--searches 300]

Without a server it uses the embedded store, which is slow, at a small size.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.program import run
from benchmarks.scratch import size, start, timed

TIMES, MORE = 1.3, 0.001
LIMIT = 10
CRITERIA: Mapping[str, Mapping[str, Any]] = {
    "nothing but the vector": {},
    "gender and age": {"genders": ["female"], "min_age": 30, "max_age": 45},
}


def main() -> None:
    options = _options()
    start()
    from benchmarks.filled import filled_stores
    from benchmarks.users import clustered

    with filled_stores(options.users) as (kind, _):
        asked = clustered(options.searches, seed=6)
        sys.stdout.write(f"search: {LIMIT} of {options.users:,} users, medians of {options.searches} searches in turn; {kind}\n")
        for name, criteria in CRITERIA.items():
            bare, ours = _in_turn(asked, criteria)
            allowed = max(TIMES * bare, bare + MORE)
            sys.stdout.write(
                f"  {name}: bare query_points {1000 * bare:.2f} ms, search {1000 * ours:.2f} ms: {ours / bare:.2f} times, "
                f"{1000 * (ours - bare):+.2f} ms (goal: at most {1000 * allowed:.2f} ms)\n"
            )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=size(12_000, 1000))
    parser.add_argument("--searches", type=int, default=size(300, 50))
    return parser.parse_args()


def _in_turn(asked: NDArray[np.float32], criteria: Mapping[str, Any]) -> tuple[float, float]:
    """Return the median seconds of the bare call and of the search."""
    from vectorstore.qdrant.connection import collection_name, qdrant
    from vectorstore.search.criteria import SearchQuery
    from vectorstore.search.filter import filter_of

    bare, ours = [], []
    with qdrant() as client:
        for vector in asked:
            numbers = vector.tolist()
            conditions = filter_of(SearchQuery(vector=vector, **criteria)) if criteria else None
            call = partial(client.query_points, collection_name(), numbers, query_filter=conditions, limit=LIMIT, with_payload=False)
            bare.append(timed(call))
            ours.append(timed(partial(_search, vector, criteria)))
    return statistics.median(bare), statistics.median(ours)


def _search(vector: NDArray[np.float32], criteria: Mapping[str, Any]) -> object:
    from vectorstore.search.criteria import SearchQuery
    from vectorstore.search.engine import search

    return search(SearchQuery(vector=vector, limit=LIMIT, **criteria))


if __name__ == "__main__":
    run(main)
