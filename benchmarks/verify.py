"""Verification of both stores against a bare scroll of the collection, with payloads and vectors and in pages of the same size.

Both of the same points, in turn, in the same run; the stores agree and nobody writes. AIM: at least 0.7 of its speed.

    [QDRANT_URL=... [QDRANT_GRPC_PORT=...]] python -m benchmarks.verify [--points 20000] [--rounds 3]

Without a server at a small size, in the embedded store.
"""

from __future__ import annotations

import argparse
import statistics
import sys

from benchmarks.program import run
from benchmarks.scratch import size, start, timed
from findme.core.errors import UserFacingError

AIM = 0.7


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
        f" ratio {scrolled / verified:.2f} (aim: at least {AIM})\n"
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
