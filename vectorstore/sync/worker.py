"""Working the queue off: what ``sync_qdrant --once`` does, and what ``--watch`` does again and again."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID, uuid4

from django.db import DatabaseError, InterfaceError, InternalError, OperationalError, connection, reset_queries

from findme.core.commands.explanations import what_went_wrong
from findme.core.commands.progress import ignore_progress
from findme.core.errors import UserFacingError, one_line
from findme.core.postgresql import refusals
from findme.core.waiting import StallTimeout
from vectorstore.catalog.alias import live_collection
from vectorstore.consistency import preflight
from vectorstore.consistency.deletions import note_new_deletion
from vectorstore.qdrant.connection import is_embedded, qdrant
from vectorstore.queue.entries import Backlog, backlog, is_empty
from vectorstore.queue.shutdown import GracefulShutdown, ShutdownRequested, reach_postgresql
from vectorstore.queue.transactions import retry_on_new_connection
from vectorstore.retention.housekeeping import Housekeeping
from vectorstore.sync.batch import BATCH_SIZE, work
from vectorstore.sync.claims import has_due_entries
from vectorstore.sync.discarding import enqueue_discards
from vectorstore.sync.leases import database_clock, expire_leases, release_all, start_recheck_delay
from vectorstore.sync.results import BatchResult, SyncResult
from vectorstore.sync.settings import check_settings

TIMEOUT_SECONDS = 300.0
POLL_SECONDS = 0.2
SHORTEST_PAUSE, LONGEST_PAUSE = 0.2, 10.0
"""Between two tries while a store is unavailable: each is twice the one before."""
RECOUNT_SECONDS = 2.0
"""Between two looks whether others get on."""

POSTGRESQL_UNAVAILABLE = (OperationalError, InterfaceError, InternalError)
"""It is down, restarting or has ended the session; or it refuses, and then ``_needs_operator`` decides."""


OnBatch = Callable[[BatchResult], None]
OnUnavailable = Callable[[str], None]


@dataclass
class Worker:
    """Works batch after batch. A store that is unavailable is told of once, and tried again with ever longer pauses."""

    batch_size: int = BATCH_SIZE
    on_batch: OnBatch = ignore_progress
    on_unavailable: OnUnavailable = ignore_progress
    id: UUID = field(default_factory=uuid4)
    unavailable: str | None = None
    pause: float = SHORTEST_PAUSE
    shown_at: float = float("-inf")
    housekeeping: Housekeeping = field(default_factory=Housekeeping)

    def step(self) -> BatchResult | None:
        """One batch; None where there was nobody to claim, or a store was unavailable (``unavailable`` says why, and ``pause`` how long to
        wait).

        The stores are compared at the first step, and again once a minute, whatever the queue holds. Raises UserFacingError, or Django's
        error of PostgreSQL, for what only a person can mend.
        """
        reset_queries()  # with DEBUG on, Django keeps thousands of them
        try:
            reach_postgresql()
            # The embedded store is read in full whenever it is opened.
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
        self.unavailable, self.pause = None, SHORTEST_PAUSE
        if done is not None:
            self.on_batch(done)
        return done

    def note_unavailable(self, error: Exception) -> None:
        if isinstance(error, DatabaseError | InterfaceError):
            connection.close()
        why = what_went_wrong(error) or one_line(error)
        if self.unavailable is None or (why != self.unavailable and _needs_operator(error)):
            self.on_unavailable(why)  # also if a store is back, and is an older copy of itself
        else:
            self.pause = min(2 * self.pause, LONGEST_PAUSE)
        self.unavailable = why

    def release_all(self) -> None:
        """Release all users whom it still holds."""
        retry_on_new_connection(self._release_all)

    def _release_all(self) -> None:
        reach_postgresql()
        release_all(self.id)

    def _acknowledge_rechecks(self) -> None:
        """Rechecks whose wait has not begun need an answer of Qdrant's, and there is no work to bring one."""
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
    """Work until the queue is empty: also what other workers hold, leases of dead ones, rechecks, a store that is unavailable are waited
    for, at most TIMEOUT seconds without a batch done by anybody. It also ends only after it has compared the two stores, so with an empty
    queue it still notices a restored store.

    Raises UserFacingError at once if a person must act first (``UserFacingError.needs_operator``): a restored store, a missing or foreign
    collection, a wrong key or setting. Raises Django's error at once if PostgreSQL only reads or refuses the connection
    (``refusals.needs_operator``). Raises ShutdownRequested where it was told to end, and PostgreSQL does not say what is left.

    With ``discard_vectors``, unique vectors are deleted as well. Raises UniqueVectorsFound, with nothing changed, if there are more of them.
    """
    check_settings()
    shutdown = shutdown or GracefulShutdown()
    worker, result = Worker(batch_size, on_batch, on_unavailable), SyncResult()
    with suppress(ShutdownRequested):
        try:
            with shutdown.may_interrupt():
                _check_stores()
                if discard_vectors is not None:
                    enqueue_discards(discard_vectors)
            _drain(worker, result, timeout, shutdown)
            if result.removed:
                with suppress(*POSTGRESQL_UNAVAILABLE):
                    note_new_deletion()
        finally:
            worker.release_all()
    result.remaining, result.stopped = _remaining(shutdown), shutdown.requested
    if result.remaining.length or result.remaining.leased or not _has_compared():  # or others may have done the rest
        result.unavailable = worker.unavailable
    return result


def _remaining(shutdown: GracefulShutdown) -> Backlog:
    try:
        reach_postgresql()
        return backlog()
    except POSTGRESQL_UNAVAILABLE as error:
        if shutdown.requested:
            raise ShutdownRequested from error
        raise


def _drain(worker: Worker, result: SyncResult, timeout: float, shutdown: GracefulShutdown) -> None:
    stall = _DrainTimeout(timeout)
    over = _is_over()
    while not (shutdown.requested or over):
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
        with shutdown.may_interrupt():
            stall.pause(worker.pause if worker.unavailable else POLL_SECONDS)
    if not shutdown.requested:
        with suppress(*POSTGRESQL_UNAVAILABLE):
            worker.housekeeping.run()


class _DrainTimeout(StallTimeout):
    """How long no worker may finish a batch."""

    remaining_entries: int | None = None
    counted_at = float("-inf")

    def observe_others(self) -> None:
        """Restart if the queue is shorter than before: another worker has finished a batch."""
        if time.monotonic() < self.counted_at + RECOUNT_SECONDS:
            return
        with suppress(*POSTGRESQL_UNAVAILABLE):  # the next step finds it
            before, self.remaining_entries, self.counted_at = self.remaining_entries, backlog().length, time.monotonic()
            if before is not None and self.remaining_entries < before:
                self.restart()


def _needs_operator(error: Exception) -> bool:
    return error.needs_operator if isinstance(error, UserFacingError) else refusals.needs_operator(error)


def _check_stores() -> None:
    """Compare the stores. A store that is unavailable is waited for later; an error that needs a person is raised."""
    try:
        reach_postgresql()
        expire_leases()  # a PostgreSQL that only reads is reported even if the queue is empty
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
        reach_postgresql()
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
