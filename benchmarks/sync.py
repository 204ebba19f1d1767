"""Speed of the sync for new and for changed points. Baseline: a bare ``upsert`` of ready points in batches of the same size.

The sync claims the queued users, reads their rows, builds the points, writes them conditionally and reads them back. The bare upsert only sends,
from one thread, into another collection with the same definition. Both run in turn on the same rows. Qdrant builds no graph in either
collection, because that would occupy the cores. GOAL: at least 0.8 of the speed of the upsert, for new and for changed points.

    [QDRANT_URL=... [QDRANT_GRPC_PORT=...]] python -m benchmarks.sync [--points 16384] [--rounds 3] [--workers 2]

Without a server it uses the embedded store, which is slow, at a small size.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING
from uuid import UUID

import numpy as np
from django.conf import settings
from django.db import connection
from numpy.typing import NDArray

from benchmarks.program import run
from benchmarks.scratch import scratch_database, scratch_store, size, start, timed
from findme.core.errors import UserFacingError

if TYPE_CHECKING:  # the client takes most of a second to import
    from qdrant_client.models import PointStruct

GOAL = 0.8


def main() -> None:
    options = _options()
    start()
    from benchmarks.users import clustered, make_users

    seconds: dict[str, list[float]] = {"bare new": [], "sync new": [], "bare changed": [], "sync changed": []}
    with scratch_database():
        user_ids = make_users(options.points)
        for round_ in range(options.rounds):
            before, after = (clustered(options.points, seed=2 * round_ + number) for number in range(2))
            with scratch_store() as kind:
                _build_no_graph()
                seconds["bare new"].append(_bare(user_ids, before))
                seconds["bare changed"].append(_bare(user_ids, after))
            with scratch_store():
                _build_no_graph()
                _embed(user_ids, before)
                seconds["sync new"].append(_sync(options.workers))
                _embed(user_ids, after)
                seconds["sync changed"].append(_sync(options.workers))
    sys.stdout.write(f"sync: {options.points:,} points, medians of {options.rounds} rounds in turn, {options.workers} workers; {kind}\n")
    for what in ("new", "changed"):
        bare, sync = (statistics.median(seconds[f"{kind_of_run} {what}"]) for kind_of_run in ("bare", "sync"))
        sys.stdout.write(
            f"  {what:8} bare upsert {options.points / bare:8,.0f} points/s, sync {options.points / sync:8,.0f} points/s,"
            f" ratio {bare / sync:.2f} (goal: at least {GOAL})\n"
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=size(16_384, 512))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=size(2, 1), help="number of worker processes that drain the queue")
    return parser.parse_args()


def _build_no_graph() -> None:
    from qdrant_client.models import OptimizersConfigDiff

    from vectorstore.catalog.registry import live
    from vectorstore.qdrant.connection import is_embedded, qdrant

    if not is_embedded():
        with qdrant() as client:
            client.update_collection(str(live()), optimizers_config=OptimizersConfigDiff(indexing_threshold=0))


def _bare(user_ids: list[UUID], vectors: NDArray[np.float32]) -> float:
    """Return the seconds of the upserts. The points are built before the clock starts."""
    from vectorstore.qdrant.connection import collection_name, qdrant
    from vectorstore.sync.batch import BATCH_SIZE

    points = _ready_made(user_ids, vectors)
    batches = [points[start : start + BATCH_SIZE] for start in range(0, len(points), BATCH_SIZE)]
    with qdrant() as client:
        return timed(lambda: [client.upsert(collection_name(), batch, wait=True) for batch in batches])


def _ready_made(user_ids: list[UUID], vectors: NDArray[np.float32]) -> list[PointStruct]:
    """Return points with the same vectors, and with payloads of the same size."""
    from qdrant_client.models import PointStruct

    from vectorstore.projection.vectors import unit

    payload = {
        "age": 30,
        "age_group": "25-34",
        "gender": "female",
        "active": True,
        "verified": True,
        "created_at": "2026-01-01T00:00:00.000000Z",
        "interests": [],
        "version": 1,
    }
    return [
        PointStruct(id=str(user_id), vector=unit(vector), payload={"user_id": str(user_id), **payload})
        for user_id, vector in zip(user_ids, vectors, strict=True)
    ]


def _embed(user_ids: list[UUID], vectors: NDArray[np.float32]) -> None:
    """Replace the rows, and queue each user once."""
    from benchmarks.users import give_embeddings

    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM profile_embeddings")
        give_embeddings(user_ids, vectors)
        cursor.execute("DELETE FROM vector_sync_queue")
        cursor.execute("INSERT INTO vector_sync_queue (user_id) SELECT user_id FROM profile_embeddings")
        # Autovacuum would start during the measurement.
        cursor.execute("VACUUM profile_embeddings, vector_sync_queue, vector_sync_leases")


def _sync(workers: int) -> float:
    """Return the seconds until the queue is empty. Several workers are processes, which are ready when the clock starts."""
    if workers == 1:
        from vectorstore.sync.worker import sync_once

        return timed(sync_once)
    command = [sys.executable, "-m", "benchmarks.sync_worker", connection.settings_dict["NAME"], settings.QDRANT_COLLECTION]
    with ExitStack() as stack:
        pipes = [
            stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))  # noqa: S603  # ourselves
            for _ in range(workers)
        ]
        for pipe in pipes:
            _wait_for(pipe, "ready")
        return timed(lambda: _run(pipes))


def _run(pipes: list[subprocess.Popen[str]]) -> None:
    for pipe in pipes:
        assert pipe.stdin is not None
        pipe.stdin.write("go\n")
        pipe.stdin.flush()
    for pipe in pipes:
        _wait_for(pipe, "done")


def _wait_for(pipe: subprocess.Popen[str], word: str) -> None:
    assert pipe.stdout is not None
    found = pipe.stdout.readline().strip()
    if found != word:
        raise UserFacingError(f"a worker ended before it was {word}")


if __name__ == "__main__":
    run(main)
