"""The points of those who were loaded, a few batches at the same time where Qdrant takes them by gRPC."""

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
"""One builds its points while Qdrant works on the other's; more only wait for Python's own lock."""
AT_A_TIME = 500
"""Points. A thousand of the largest take 300 MiB while they are built."""


def sync_users(user_ids: Sequence[UUID]) -> BatchResult:
    """Write the points of these people, who are on the queue since the commit that loaded them. Raises as ``inline.sync_users`` does."""
    if is_embedded() or not settings.QDRANT_GRPC_PORT or len(user_ids) <= BATCH_SIZE:
        return inline.sync_users(user_ids)
    with ThreadPoolExecutor(THREADS) as pool:
        slices = [user_ids[start : start + AT_A_TIME] for start in range(0, len(user_ids), AT_A_TIME)]
        return sum((_in_threads(pool, part) for part in slices), BatchResult())


def _in_threads(pool: ThreadPoolExecutor, user_ids: Sequence[UUID]) -> BatchResult:
    return sum(pool.map(_in_thread, [user_ids[start::THREADS] for start in range(THREADS)]), BatchResult())


def _in_thread(user_ids: Sequence[UUID]) -> BatchResult:
    try:
        return inline.sync_users(user_ids)
    finally:
        connection.close()
