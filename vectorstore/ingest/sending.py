"""Write the points of loaded users to Qdrant, with two parallel batches over gRPC."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

from django.conf import settings
from django.db import connection

from vectorstore.qdrant.connection import is_embedded
from vectorstore.sync import inline
from vectorstore.sync.batch import BATCH_SIZE
from vectorstore.sync.results import BatchResult

THREADS = 2
"""One thread builds its points while Qdrant writes the other's. More threads only wait for Python's global interpreter lock."""
SLICE_SIZE = 500
"""Points of both threads together. A thousand of the largest points take 300 MiB while they are built."""


def sync_users(user_ids: Sequence[UUID]) -> BatchResult:
    """Write the points of the users. The commit that loaded them has queued them. Raises the errors of ``inline.sync_users``."""
    if is_embedded() or not settings.QDRANT_GRPC_PORT or len(user_ids) <= BATCH_SIZE:
        return inline.sync_users(user_ids)
    with ThreadPoolExecutor(THREADS) as pool:
        slices = [user_ids[start : start + SLICE_SIZE] for start in range(0, len(user_ids), SLICE_SIZE)]
        return sum((_in_threads(pool, part) for part in slices), BatchResult())


def _in_threads(pool: ThreadPoolExecutor, user_ids: Sequence[UUID]) -> BatchResult:
    return sum(pool.map(_in_thread, [user_ids[start::THREADS] for start in range(THREADS)]), BatchResult())


def _in_thread(user_ids: Sequence[UUID]) -> BatchResult:
    try:
        return inline.sync_users(user_ids)
    finally:
        connection.close()
