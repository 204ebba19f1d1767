"""Process the queue until a signal arrives: ``sync_qdrant --watch``."""

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
"""How long a worker sleeps, unless a NOTIFY wakes it."""
HEARTBEAT_SECONDS = 15.0
"""How often a busy worker, which never sleeps, writes its heartbeat."""


def watch(
    *,
    batch_size: int = BATCH_SIZE,
    on_batch: OnBatch = ignore_progress,
    on_unavailable: OnUnavailable = ignore_progress,
    on_start: Callable[[], None] = lambda: None,
) -> None:
    """Process the queue until SIGTERM or SIGINT. An unavailable store ends it neither at the start nor later.

    ``on_start`` is called once, after the settings were checked and the signal handlers were installed. Call this function in the main
    thread, which receives the signals. Raises UserFacingError for an invalid setting.
    """
    check_settings()
    worker, shutdown, capture = Worker(batch_size, on_batch, on_unavailable), GracefulShutdown(), CaptureCheck()
    with shutdown.caught(signal.SIGTERM, signal.SIGINT), suppress(ShutdownRequested):
        try:
            on_start()
            while not shutdown.requested:
                _write_heartbeat(worker)
                capture.run()
                if _step(worker) is None:
                    with shutdown.may_interrupt():
                        _wait(worker)
        finally:
            worker.release_all()


def _step(worker: Worker) -> object:
    """Process one batch. An error of the collections or the schema may be corrected while this process runs, so it is only reported."""
    try:
        return worker.step()
    except (UserFacingError, DatabaseError) as error:
        worker.note_unavailable(error)
        return None


def _write_heartbeat(worker: Worker) -> None:
    """Register this worker. If PostgreSQL is unavailable, the next step reports it."""
    if time.monotonic() - worker.heartbeat_at < HEARTBEAT_SECONDS:
        return
    worker.heartbeat_at = time.monotonic()
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO vector_sync_workers (id, host, pid) VALUES (%s, %s, %s) ON CONFLICT (id) DO UPDATE SET heartbeat_at = now()",
                [worker.id, socket.gethostname(), os.getpid()],
            )
    except (DatabaseError, InterfaceError):
        connection.close()


def _wait(worker: Worker) -> None:
    if worker.unavailable is not None:
        time.sleep(worker.pause)
        return
    try:
        _sleep(worker)
    except (DatabaseError, InterfaceError, psycopg.Error):
        connection.close()
        time.sleep(POLL_SECONDS)


def _sleep(worker: Worker) -> None:
    """Sleep until a NOTIFY arrives, at most ``SLEEP_SECONDS``. A writer sends NOTIFY only while a worker is registered as sleeping."""
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
    # Queued after the last step and before this worker was registered as sleeping. Another worker may hold these users.
    if queued:
        time.sleep(POLL_SECONDS)
        return
    assert connection.connection is not None
    for _woken in connection.connection.notifies(timeout=SLEEP_SECONDS, stop_after=1):
        pass
