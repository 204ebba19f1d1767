"""Process the queue: once for ``sync_qdrant --once``, repeatedly for ``--watch``."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Event
from uuid import UUID, uuid4

from django.db import DatabaseError, InterfaceError, InternalError, OperationalError, connection, reset_queries

from findme.core.commands.explanations import explain_error
from findme.core.commands.progress import ignore_progress
from findme.core.commands.shutdown import GracefulShutdown, ShutdownRequested
from findme.core.db.clock import database_clock
from findme.core.errors import UserFacingError, one_line
from findme.core.postgresql import refusals
from findme.core.waiting import StallTimeout
from vectorstore.catalog.alias import live_collection
from vectorstore.consistency import preflight
from vectorstore.consistency.deletions import note_new_deletion
from vectorstore.qdrant.connection import is_embedded, qdrant
from vectorstore.queue.entries import Backlog, backlog, is_empty
from vectorstore.queue.transactions import retry_on_new_connection
from vectorstore.retention.housekeeping import Housekeeping
from vectorstore.sync.batch import BATCH_SIZE, work
from vectorstore.sync.claims import has_due_entries
from vectorstore.sync.discarding import enqueue_discards
from vectorstore.sync.leases import expire_leases, release_all
from vectorstore.sync.rechecks import start_recheck_delay
from vectorstore.sync.results import BatchResult, SyncResult
from vectorstore.sync.settings import check_settings

TIMEOUT_SECONDS = 300.0
POLL_SECONDS = 0.2
MIN_PAUSE, MAX_PAUSE = 0.2, 10.0
"""Pause between two attempts while a store is unavailable. Each pause is twice the previous one."""
RECOUNT_SECONDS = 2.0
"""Pause between two checks whether other workers make progress."""

POSTGRESQL_UNAVAILABLE = (OperationalError, InterfaceError, InternalError)
"""PostgreSQL is down, is restarting, has closed the session, or rejects the statement. ``_needs_operator`` tells these apart."""


OnBatch = Callable[[BatchResult], None]
OnUnavailable = Callable[[str], None]


@dataclass
class Worker:
    """Processes batch after batch. Reports an unavailable store once, and retries with increasing pauses."""

    batch_size: int = BATCH_SIZE
    on_batch: OnBatch = ignore_progress
    on_unavailable: OnUnavailable = ignore_progress
    id: UUID = field(default_factory=uuid4)
    unavailable: str | None = None
    pause: float = MIN_PAUSE
    heartbeat_at: float = float("-inf")
    housekeeping: Housekeeping = field(default_factory=Housekeeping)

    def step(self) -> BatchResult | None:
        """Process one batch. Return None if no user could be claimed or a store was unavailable.

        ``unavailable`` is then the reason and ``pause`` the seconds to wait. The stores are compared in the first step, and again once a
        minute, whatever the queue holds. Raises UserFacingError, or Django's error of PostgreSQL, if an operator must act.
        """
        # With DEBUG on, Django keeps thousands of queries.
        reset_queries()
        try:
            # Opening the embedded store reads all of it.
            idle = is_embedded() and not has_due_entries() and not preflight.is_due()
            done = None if idle else work(self.id, self.batch_size)
            if done is None:
                expire_leases()
                self._acknowledge_rechecks()
                self.housekeeping.run()
        except (UserFacingError, *POSTGRESQL_UNAVAILABLE) as error:
            if _needs_operator(error):
                raise
            self.note_unavailable(error)
            return None
        self.unavailable, self.pause = None, MIN_PAUSE
        if done is not None:
            self.on_batch(done)
        return done

    def note_unavailable(self, error: Exception) -> None:
        if isinstance(error, DatabaseError | InterfaceError):
            connection.close()
        reason = explain_error(error) or one_line(error)
        # Also report that a store is available again but was restored from an older copy.
        if self.unavailable is None or (reason != self.unavailable and _needs_operator(error)):
            self.on_unavailable(reason)
        else:
            self.pause = min(2 * self.pause, MAX_PAUSE)
        self.unavailable = reason

    def release_all(self) -> None:
        """Release all users that this worker still holds."""
        retry_on_new_connection(lambda: release_all(self.id))

    def _acknowledge_rechecks(self) -> None:
        """Start the delay of waiting rechecks. They need an answer from Qdrant, and no batch is there to bring one."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT EXISTS (SELECT FROM vector_sync_queue WHERE awaits_ack)")
            waiting = cursor.fetchone()[0]
        if waiting:
            sent_at = database_clock()
            with qdrant() as client:
                client.get_collections()
            start_recheck_delay(sent_at)


def sync_once(
    *,
    batch_size: int = BATCH_SIZE,
    timeout: float = TIMEOUT_SECONDS,
    on_batch: OnBatch = ignore_progress,
    on_unavailable: OnUnavailable = ignore_progress,
    shutdown: GracefulShutdown | None = None,
    discard_vectors: int | None = None,
) -> SyncResult:
    """Process the queue until it is empty and the two stores were compared, so a restored store is noticed with an empty queue too.

    Also waits for users that other workers hold, for leases of killed workers, for rechecks, and for an unavailable store. Ends after
    ``timeout`` seconds in which no worker finished a batch.

    Raises UserFacingError at once if an operator must act first (``UserFacingError.needs_operator``): a restored store, a missing or
    foreign collection, a wrong key or setting. Raises Django's error at once if PostgreSQL is read-only or rejects the connection
    (``refusals.needs_operator``). Raises ShutdownRequested if a signal arrived and PostgreSQL does not return the remaining entries,
    and KeyboardInterrupt after Ctrl-C.

    With ``discard_vectors``, unique vectors are deleted as well. Raises UniqueVectorsFound, with nothing changed, if there are more of them.
    """
    check_settings()
    shutdown = shutdown or GracefulShutdown()
    worker, result = Worker(batch_size, on_batch, on_unavailable), SyncResult()

    def drain() -> None:
        _check_stores()
        if discard_vectors is not None and not shutdown.requested.is_set():
            enqueue_discards(discard_vectors)
        _drain(worker, result, timeout, shutdown.requested)
        if result.removed:
            with suppress(*POSTGRESQL_UNAVAILABLE):
                note_new_deletion()

    try:
        shutdown.run(drain)
    finally:
        worker.release_all()
    result.remaining, result.stopped = _remaining(shutdown), shutdown.requested.is_set()
    # Other workers may have done the rest.
    if result.remaining.length or result.remaining.leased or not _has_compared():
        result.unavailable = worker.unavailable
    return result


def _remaining(shutdown: GracefulShutdown) -> Backlog:
    try:
        return backlog()
    except POSTGRESQL_UNAVAILABLE as error:
        if shutdown.exit_code is None:
            raise
        raise ShutdownRequested from error


def _drain(worker: Worker, result: SyncResult, timeout: float, shutdown_requested: Event) -> None:
    stall = _DrainTimeout(timeout)
    over = _is_over()
    while not (shutdown_requested.is_set() or over):
        if (batch := worker.step()) is not None:
            result.add(batch)
            stall.restart()
            continue
        if over := _is_over():
            break
        if worker.unavailable is None:
            stall.observe_others()
        if stall.is_over():
            return
        shutdown_requested.wait(min(stall.remaining(), worker.pause if worker.unavailable else POLL_SECONDS))
    if not shutdown_requested.is_set():
        with suppress(*POSTGRESQL_UNAVAILABLE):
            worker.housekeeping.run()


class _DrainTimeout(StallTimeout):
    """Restarts whenever any worker finishes a batch."""

    remaining_entries: int | None = None
    counted_at = float("-inf")

    def observe_others(self) -> None:
        """Restart if the queue is shorter than before: another worker has finished a batch."""
        if time.monotonic() < self.counted_at + RECOUNT_SECONDS:
            return
        # If PostgreSQL is unavailable, the next step reports it.
        with suppress(*POSTGRESQL_UNAVAILABLE):
            before, self.remaining_entries, self.counted_at = self.remaining_entries, backlog().length, time.monotonic()
            if before is not None and self.remaining_entries < before:
                self.restart()


def _needs_operator(error: Exception) -> bool:
    return error.needs_operator if isinstance(error, UserFacingError) else refusals.needs_operator(error)


def _check_stores() -> None:
    """Compare the stores. Raise an error that needs an operator. An unavailable store is waited for later."""
    try:
        # A read-only PostgreSQL is reported even if the queue is empty.
        expire_leases()
        with qdrant() as client:
            live_collection(client)
            preflight.check_stores(client)
    except (UserFacingError, *POSTGRESQL_UNAVAILABLE) as error:
        if _needs_operator(error):
            raise
        if not isinstance(error, UserFacingError):
            connection.close()


def _is_over() -> bool:
    """Return whether nothing is left to do: the queue is empty and this process has compared the stores."""
    try:
        return is_empty() and not preflight.is_due()
    except POSTGRESQL_UNAVAILABLE:
        connection.close()
        return False


def _has_compared() -> bool:
    try:
        return not preflight.is_due()
    except POSTGRESQL_UNAVAILABLE:
        connection.close()
        return False
