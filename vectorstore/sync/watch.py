"""Process the queue until a signal arrives: ``sync_qdrant --watch``."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from threading import Event

import psycopg
from django.db import DatabaseError, InterfaceError, connection

from findme.core.commands.progress import ignore_progress
from findme.core.commands.shutdown import GracefulShutdown
from findme.core.errors import UserFacingError
from findme.core.waiting import Deadline
from vectorstore.consistency.capture_check import CaptureCheck
from vectorstore.sync.batch import BATCH_SIZE
from vectorstore.sync.settings import check_settings
from vectorstore.sync.worker import POLL_SECONDS, OnBatch, OnUnavailable, Worker

SLEEP_SECONDS = 1.0
"""How long a worker sleeps, unless a NOTIFY wakes it."""
HEARTBEAT_SECONDS = 15.0
"""How often a busy worker, which never sleeps, writes its heartbeat."""


def watch(
    shutdown: GracefulShutdown,
    *,
    batch_size: int = BATCH_SIZE,
    on_batch: OnBatch = ignore_progress,
    on_unavailable: OnUnavailable = ignore_progress,
    on_start: Callable[[], None] = lambda: None,
) -> None:
    """Process the queue until ``shutdown`` is requested. An unavailable store ends it neither at the start nor later.

    ``on_start`` is called once, after the settings were checked. Raises UserFacingError for an invalid setting.
    """
    check_settings()
    worker, capture = Worker(batch_size, on_batch, on_unavailable), CaptureCheck()
    on_start()

    def process() -> None:
        while not shutdown.requested.is_set():
            _write_heartbeat(worker)
            capture.run()
            if _step(worker) is None:
                _wait(worker, shutdown.requested)

    try:
        shutdown.run(process)
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


def _wait(worker: Worker, shutdown_requested: Event) -> None:
    if worker.unavailable is not None:
        shutdown_requested.wait(worker.pause)
        return
    try:
        _sleep(worker, shutdown_requested)
    except (DatabaseError, InterfaceError, psycopg.Error):
        connection.close()
        shutdown_requested.wait(POLL_SECONDS)


def _sleep(worker: Worker, shutdown_requested: Event) -> None:
    """Sleep until a NOTIFY arrives or a shutdown is requested, at most ``SLEEP_SECONDS``.

    A writer sends NOTIFY only while a worker is registered as sleeping.
    """
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
        shutdown_requested.wait(POLL_SECONDS)
        return
    assert connection.connection is not None
    for _ in Deadline(SLEEP_SECONDS).polls(0):
        if shutdown_requested.is_set() or list(connection.connection.notifies(timeout=POLL_SECONDS, stop_after=1)):
            return
