"""Working the queue off for good: what ``sync_qdrant --watch`` does."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress

import psycopg
from django.db import DatabaseError, InterfaceError, connection

from findme.core.commands.progress import ignore_progress
from findme.core.errors import UserFacingError
from vectorstore.consistency.capture_check import CaptureCheck
from vectorstore.queue.shutdown import GracefulShutdown, ShutdownRequested
from vectorstore.sync.batch import BATCH_SIZE
from vectorstore.sync.settings import check_settings
from vectorstore.sync.worker import POLL_SECONDS, OnBatch, OnUnavailable, Worker

SLEEP_SECONDS = 1.0
"""A worker looks by itself, whether it was woken or not."""
SHOW_SECONDS = 15.0
"""How often a worker that finds no time to sleep says that it is there."""


def watch(
    *,
    batch_size: int = BATCH_SIZE,
    on_batch: OnBatch = ignore_progress,
    on_unavailable: OnUnavailable = ignore_progress,
    on_start: Callable[[], None] = lambda: None,
) -> None:
    """Work until SIGTERM or SIGINT; a store that is unavailable ends it neither at the start nor later. Raises UserFacingError for a wrong
    setting.

    ``on_start`` is called once, when the settings are right and the signals are caught.

    In the main thread of a process, which is told of its signals.
    """
    check_settings()
    worker, shutdown, capture = Worker(batch_size, on_batch, on_unavailable), GracefulShutdown(), CaptureCheck()
    with shutdown.caught(signal.SIGTERM, signal.SIGINT), suppress(ShutdownRequested):
        try:
            on_start()
            while not shutdown.requested:
                _show(worker)
                capture.run()
                if _step(worker) is None:
                    with shutdown.may_interrupt():
                        _rest(worker)
        finally:
            worker.release_all()


def _step(worker: Worker) -> object:
    """What is wrong with the collections or the schema, and not with a setting of this process, may be mended while it runs."""
    try:
        return worker.step()
    except (UserFacingError, DatabaseError) as error:
        worker.note_unavailable(error)
        return None


def _show(worker: Worker) -> None:
    """On the list of workers. Where PostgreSQL is unavailable, the next step finds it."""
    if time.monotonic() - worker.shown_at < SHOW_SECONDS:
        return
    worker.shown_at = time.monotonic()
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO vector_sync_workers (id, host, pid) VALUES (%s, %s, %s) ON CONFLICT (id) DO UPDATE SET heartbeat_at = now()",
                [worker.id, socket.gethostname(), os.getpid()],
            )
    except (DatabaseError, InterfaceError):
        connection.close()


def _rest(worker: Worker) -> None:
    if worker.unavailable is not None:
        time.sleep(worker.pause)
        return
    try:
        _sleep(worker)
    except (DatabaseError, InterfaceError, psycopg.Error):
        connection.close()
        time.sleep(POLL_SECONDS)


def _sleep(worker: Worker) -> None:
    """Until somebody queues something, or a moment has passed. Whoever queues wakes only those who have said that they sleep."""
    with connection.cursor() as cursor:
        cursor.execute("LISTEN vector_sync")
        cursor.execute(
            """
            INSERT INTO vector_sync_workers (id, host, pid, sleeping_until)
            VALUES (%s, %s, %s, clock_timestamp() + make_interval(secs => %s))
            ON CONFLICT (id) DO UPDATE SET heartbeat_at = now(), sleeping_until = EXCLUDED.sleeping_until
            """,
            [worker.id, socket.gethostname(), os.getpid(), SLEEP_SECONDS],
        )
        cursor.execute("SELECT EXISTS (SELECT FROM vector_sync_queue WHERE NOT awaits_ack AND not_before IS NULL)")
        (queued,) = cursor.fetchone()
    if queued:  # since it was looked last, and before anybody knew that this one sleeps; perhaps somebody else has it in hand
        time.sleep(POLL_SECONDS)
        return
    assert connection.connection is not None
    for _woken in connection.connection.notifies(timeout=SLEEP_SECONDS, stop_after=1):
        pass
