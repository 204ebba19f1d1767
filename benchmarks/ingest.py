"""Speed of ``upsert_embeddings`` for embeddings of new users in an ``.npz`` file. Baseline: a raw binary COPY.

Both write the same bytes into the same table, with its constraints and triggers, in turn. Qdrant is not contacted. The raw COPY is one
transaction, and its bytes are ready before the clock starts. GOAL: at least 0.5 of the speed of the COPY.

    python -m benchmarks.ingest [--rows 20000] [--rounds 5]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from django.db import connection, transaction

from benchmarks.program import run as run_program
from benchmarks.scratch import scratch_database, start
from findme.core.errors import UserFacingError

GOAL = 0.5


def main() -> None:
    options = _options()
    start()
    from benchmarks.users import binary, clustered, make_users

    with scratch_database(), tempfile.TemporaryDirectory(prefix="findme-benchmark-") as folder:
        user_ids, vectors = make_users(options.rows), clustered(options.rows)
        file = Path(folder) / "embeddings.npz"
        np.savez(file, user_ids=np.array([str(user_id) for user_id in user_ids]), vectors=vectors)
        copied = binary(user_ids, vectors)
        raw, ours = _in_turn(options.rounds, lambda: _copy(copied), lambda: _load(file, options.rows))
    ratio = statistics.median(raw) / statistics.median(ours)
    sys.stdout.write(
        f"ingest: {options.rows:,} new users, medians of {options.rounds} rounds in turn\n"
        f"  raw binary COPY   {options.rows / statistics.median(raw):10,.0f} rows/s  ({_range(raw)})\n"
        f"  upsert_embeddings {options.rows / statistics.median(ours):10,.0f} rows/s  ({_range(ours)})\n"
        f"  ratio {ratio:.2f} (goal: at least {GOAL})\n"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def _in_turn(rounds: int, *runs: Callable[[], None]) -> list[list[float]]:
    """Return the seconds of each run of each function, always on an empty table."""
    seconds: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds):
        for run, found in zip(runs, seconds, strict=True):
            _empty()
            begun = time.perf_counter()
            run()
            found.append(time.perf_counter() - begun)
    return seconds


def _empty() -> None:
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE profile_embeddings")
        cursor.execute("TRUNCATE vector_sync_queue")
        cursor.execute("CHECKPOINT")


def _copy(copied: bytes) -> None:
    from benchmarks.users import copy_embeddings

    with transaction.atomic(), connection.cursor() as cursor:
        copy_embeddings(cursor, copied)


def _load(file: Path, rows: int) -> None:
    from vectorstore.ingest import load

    loaded = load.upsert_embeddings([str(file)], queue_only=True)
    if (loaded.loaded, loaded.new) != (rows, rows):
        raise UserFacingError(f"of {rows:,} rows {loaded.new:,} were loaded as new")


def _range(seconds: list[float]) -> str:
    return f"{min(seconds):.2f} to {max(seconds):.2f} s"


if __name__ == "__main__":
    run_program(main)
