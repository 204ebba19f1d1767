"""Speed of the verification of both stores. Baseline: a bare scroll of the collection in pages of the same size.

The scroll reads payloads and vectors. Both read the same points in turn. The stores agree, and no process writes. GOAL: at least 0.7 of the speed
of the scroll.

    [QDRANT_URL=... [QDRANT_GRPC_PORT=...]] python -m benchmarks.verify [--points 20000] [--rounds 3]

Without a server it uses the embedded store, at a small size.
"""

from __future__ import annotations

import argparse
import statistics
import sys

from benchmarks.program import run
from benchmarks.scratch import size, start, timed
from findme.core.errors import UserFacingError

GOAL = 0.7


def main() -> None:
    options = _options()
    start()
    from benchmarks.filled import filled_stores

    bare: list[float] = []
    verification: list[float] = []
    with filled_stores(options.points) as (kind, _vectors):
        for _ in range(options.rounds):
            bare.append(timed(_scroll))
            verification.append(timed(_verify))
    scrolled, verified = statistics.median(bare), statistics.median(verification)
    sys.stdout.write(
        f"verify: {options.points:,} points, medians of {options.rounds} rounds in turn; {kind}\n"
        f"  bare scroll {options.points / scrolled:8,.0f} points/s, verification {options.points / verified:8,.0f} points/s,"
        f" ratio {scrolled / verified:.2f} (goal: at least {GOAL})\n"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=size(20_000, 2_000))
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def _scroll() -> None:
    from vectorstore.qdrant.connection import collection_name, is_embedded, qdrant
    from vectorstore.qdrant.scroll import EMBEDDED_PAGE_SIZE, PAGE_SIZE

    offset, size = None, EMBEDDED_PAGE_SIZE if is_embedded() else PAGE_SIZE
    while True:
        with qdrant() as client:
            _page, offset = client.scroll(collection_name(), limit=size, offset=offset, with_payload=True, with_vectors=True)
        if offset is None:
            return


def _verify() -> None:
    from vectorstore.verification.verify import verify

    verified = verify()
    if not verified.clean:
        raise UserFacingError(f"The stores of the benchmark do not agree: {verified.collections}")


if __name__ == "__main__":
    run(main)
