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
from vectorstore.catalog.alias import live_collection
from vectorstore.consistency import preflight
from vectorstore.consistency.deletions import note_new_deletion
from vectorstore.qdrant.connection import is_embedded, qdrant
from vectorstore.queue.entries import Backlog, backlog, is_empty
from vectorstore.queue.shutdown import Stopped, Stopping, reach_postgresql
from vectorstore.queue.transactions import retry_on_new_connection
from vectorstore.retention.housekeeping import Tidying
from vectorstore.sync.batch import BATCH_SIZE, Done, work
from vectorstore.sync.claims import anybody_due
from vectorstore.sync.discarding import enqueue_discards
from vectorstore.sync.leases import database_clock, expire_leases, release_all, start_recheck_delay
from vectorstore.sync.settings import check_settings

TIMEOUT_SECONDS = 300.0
POLL_SECONDS = 0.2
SHORTEST_PAUSE, LONGEST_PAUSE = 0.2, 10.0
"""Between two tries while a store is away: each is twice the one before."""
RECOUNT_SECONDS = 2.0
"""Between two looks whether others get on."""

POSTGRES_AWAY = (OperationalError, InterfaceError, InternalError)
"""It is down, restarting or has ended the session; or it refuses, and then ``_needs_operator`` decides."""


@dataclass(frozen=True, slots=True)
class Synced:
    """Points written, points that were there and are gone, people set aside; what is left; where a store was away to the end, why; and whether
    it was told to end. ``unique_vectors`` points were not deleted, since they hold the only copy of a vector."""

    written: int
    removed: int
    set_aside: int
    left: Backlog
    away: str | None = None
    stopped: bool = False
    unique_vectors: int = 0


Tell = Callable[[Done], None]
TellAway = Callable[[str], None]


@dataclass
class Worker:
    """Works batch after batch. A store that is away is told of once, and tried again with ever longer pauses."""

    batch_size: int = BATCH_SIZE
    tell: Tell = ignore_progress
    tell_away: TellAway = ignore_progress
    id: UUID = field(default_factory=uuid4)
    away: str | None = None
    pause: float = SHORTEST_PAUSE
    shown_at: float = float("-inf")
    tidying: Tidying = field(default_factory=Tidying)

    def step(self) -> Done | None:
        """One batch; None where there was nobody to claim, or a store was away (``away`` says why, and ``pause`` how long to wait).

        The stores are compared at the first step, and again once a minute, whatever the queue holds. Raises UserFacingError, or Django's
        error of PostgreSQL, for what only a person can mend.
        """
        reset_queries()  # with DEBUG on, Django keeps thousands of them
        try:
            reach_postgresql()
            # The embedded store is read in full whenever it is opened.
            idle = is_embedded() and not anybody_due() and not preflight.is_due()
            done = None if idle else work(self.id, self.batch_size)
            if done is None:
                expire_leases()
                self._ask_for_the_waiting()
                self.tidying.tidy()
        except (UserFacingError, *POSTGRES_AWAY) as error:
            if _needs_operator(error):
                raise
            self.is_away(error)
            return None
        self.away, self.pause = None, SHORTEST_PAUSE
        if done is not None:
            self.tell(done)
        return done

    def is_away(self, error: Exception) -> None:
        if isinstance(error, DatabaseError | InterfaceError):
            connection.close()
        why = what_went_wrong(error) or one_line(error)
        if self.away is None or (why != self.away and _needs_operator(error)):
            self.tell_away(why)  # also if a store is back, and is an older copy of itself
        else:
            self.pause = min(2 * self.pause, LONGEST_PAUSE)
        self.away = why

    def release_all(self) -> None:
        """Let everybody go whom it still holds."""
        retry_on_new_connection(self._release_all)

    def _release_all(self) -> None:
        reach_postgresql()
        release_all(self.id)

    def _ask_for_the_waiting(self) -> None:
        """Second looks whose wait has not begun need an answer of Qdrant's, and there is no work to bring one."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT EXISTS (SELECT FROM vector_sync_queue WHERE awaits_answer)")
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
    tell: Tell = ignore_progress,
    tell_away: TellAway = ignore_progress,
    stopping: Stopping | None = None,
    discard_vectors: int | None = None,
) -> Synced:
    """Work until the queue is empty: also what other workers hold, leases of dead ones, second looks, a store that is away are waited for, at most
    TIMEOUT seconds without a batch done by anybody. It also ends only after it has compared the two stores, so with an empty queue it still
    notices a restored store.

    Raises UserFacingError at once if a person must act first (``UserFacingError.needs_operator``): a restored store, a missing or foreign
    collection, a wrong key or setting. Raises Django's error at once if PostgreSQL only reads or refuses the connection
    (``refusals.needs_operator``). Raises Stopped where it was told to end, and PostgreSQL does not say what is left.

    With ``discard_vectors``, unique vectors are deleted as well. Raises UniqueVectorsFound, with nothing changed, if there are more of them.
    """
    check_settings()
    stopping = stopping or Stopping()
    worker, totals = Worker(batch_size, tell, tell_away), _Totals()
    with suppress(Stopped):
        try:
            with stopping.may_interrupt():
                _prove_at_once()
                if discard_vectors is not None:
                    enqueue_discards(discard_vectors)
            _drain(worker, totals, timeout, stopping)
            if totals.removed:
                with suppress(*POSTGRES_AWAY):
                    note_new_deletion()
        finally:
            worker.release_all()
    left = _left(stopping)
    unfinished = left.length or left.leased or not _has_compared()
    away = worker.away if unfinished else None  # others may have done the rest
    return Synced(totals.written, totals.removed, totals.set_aside, left, away, stopping.requested, totals.unique_vectors)


def _left(stopping: Stopping) -> Backlog:
    try:
        reach_postgresql()
        return backlog()
    except POSTGRES_AWAY as error:
        if stopping.requested:
            raise Stopped from error
        raise


def _drain(worker: Worker, totals: _Totals, timeout: float, stopping: Stopping) -> None:
    patience = _Patience(timeout)
    over = _is_over()
    while not (stopping.requested or over):
        if (done := worker.step()) is not None:
            totals.add(done)
            patience.renew()
            continue
        if over := _is_over():
            break
        if worker.away is None:
            patience.renew_if_others_get_on()
        if patience.is_over():
            return
        with stopping.may_interrupt():
            time.sleep(min(worker.pause if worker.away else POLL_SECONDS, patience.left()))
    if not stopping.requested:
        with suppress(*POSTGRES_AWAY):
            worker.tidying.tidy()


class _Totals:
    def __init__(self) -> None:
        self.written = self.removed = self.set_aside = self.unique_vectors = 0

    def add(self, done: Done) -> None:
        self.written += done.written
        self.removed += done.removed
        self.set_aside += len(done.refused)
        self.unique_vectors += done.unique_vectors


class _Patience:
    """How long nothing may be done, by anybody."""

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self.seen: int | None = None
        self.seen_at = float("-inf")
        self.renew()

    def renew(self) -> None:
        self.deadline = time.monotonic() + self.timeout

    def left(self) -> float:
        return max(0.0, self.deadline - time.monotonic())

    def is_over(self) -> bool:
        return time.monotonic() >= self.deadline

    def renew_if_others_get_on(self) -> None:
        if time.monotonic() < self.seen_at + RECOUNT_SECONDS:
            return
        with suppress(*POSTGRES_AWAY):  # the next step finds it
            before, self.seen, self.seen_at = self.seen, backlog().length, time.monotonic()
            if before is not None and self.seen < before:
                self.renew()


def _needs_operator(error: Exception) -> bool:
    return error.needs_operator if isinstance(error, UserFacingError) else refusals.needs_operator(error)


def _prove_at_once() -> None:
    """Compare the stores. A store that is away is waited for later; an error that needs a person is raised."""
    try:
        reach_postgresql()
        expire_leases()  # a PostgreSQL that only reads is reported even if the queue is empty
        with qdrant() as client:
            live_collection(client)
            preflight.prove(client)
    except (UserFacingError, *POSTGRES_AWAY) as error:
        if _needs_operator(error):
            raise
        if not isinstance(error, UserFacingError):
            connection.close()


def _is_over() -> bool:
    """Return whether nothing is left to do: the queue is empty and this process has compared the stores."""
    try:
        reach_postgresql()
        return is_empty() and not preflight.is_due()
    except POSTGRES_AWAY:
        connection.close()
        return False


def _has_compared() -> bool:
    try:
        return not preflight.is_due()
    except POSTGRES_AWAY:
        connection.close()
        return False
