"""Working the queue off for good: what ``sync_qdrant --watch`` does."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import psycopg
from django.db import DatabaseError, InterfaceError, connection

from findme.console.errors import NotDone
from vectorstore.sync.drain import POLL_SECONDS, Tell, TellAway, Worker, untold
from vectorstore.sync.settings import check_settings
from vectorstore.sync.work import BATCH_SIZE

SLEEP_SECONDS = 1.0
"""A worker looks by itself, whether it was woken or not."""
GRACE_SECONDS, FAREWELL_SECONDS = 5.0, 3.0
"""After SIGTERM: for the batch in hand, and then for giving it back."""


class Stopped(BaseException):
    """The worker was told to end, and the batch in hand is not to be waited for any longer."""


class Stopping:
    """SIGTERM and SIGINT: at once where nothing is in hand, else the batch has some seconds to end, and some more to be given back."""

    def __init__(self) -> None:
        self.requested = self.idle = False

    @contextmanager
    def caught(self) -> Iterator[None]:
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)
        before = [signal.signal(number, handler) for number, handler in zip(numbers, (self._stop, self._stop, self._over), strict=True)]
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        first, self.requested = not self.requested, True
        if self.idle:
            raise Stopped
        if first:
            signal.setitimer(signal.ITIMER_REAL, GRACE_SECONDS)

    def _over(self, _number: int, _frame: FrameType | None) -> None:
        """First the batch is broken off; if not even giving it back ends, PostgreSQL is frozen as well: its lease runs out by itself."""
        if not self.requested:
            return
        signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
        signal.setitimer(signal.ITIMER_REAL, FAREWELL_SECONDS)
        raise Stopped

    @contextmanager
    def may_interrupt(self) -> Iterator[None]:
        """Nothing is in hand in the block: a signal ends it at once."""
        self.idle = True
        try:
            if self.requested:
                raise Stopped
            yield
        finally:
            self.idle = False


def watch(*, batch_size: int = BATCH_SIZE, tell: Tell = untold, tell_away: TellAway = untold) -> None:
    """Work until SIGTERM or SIGINT; a store that is away ends it neither at the start nor later. Raises NotDone for a wrong setting.

    Only in the main thread of a process, which takes its signals.
    """
    check_settings()
    worker, stopping = Worker(batch_size, tell, tell_away), Stopping()
    with stopping.caught(), suppress(Stopped):
        try:
            while not stopping.requested:
                if _step(worker) is None:
                    with stopping.may_interrupt():
                        _rest(worker)
        finally:
            _leave(worker)


def _step(worker: Worker) -> object:
    """What is wrong with the collections, and not with a setting of this process, may be mended while it runs."""
    try:
        return worker.step()
    except NotDone as error:
        worker.is_away(error)
        return None


def _rest(worker: Worker) -> None:
    if worker.away is not None:
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
            ON CONFLICT (id) DO UPDATE SET seen_at = now(), sleeping_until = EXCLUDED.sleeping_until
            """,
            [worker.id, socket.gethostname(), os.getpid(), SLEEP_SECONDS],
        )
        cursor.execute("SELECT EXISTS (SELECT FROM vector_sync_queue WHERE NOT awaits_answer AND not_before IS NULL)")
        if cursor.fetchone()[
            0
        ]:  # since it was looked last, and before anybody knew that this one sleeps; perhaps somebody else has it in hand
            time.sleep(POLL_SECONDS)
            return
    assert connection.connection is not None
    for _woken in connection.connection.notifies(timeout=SLEEP_SECONDS, stop_after=1):
        pass


def _leave(worker: Worker) -> None:
    with suppress(DatabaseError, InterfaceError), connection.cursor() as cursor:
        cursor.execute("DELETE FROM vector_sync_workers WHERE id = %s", [worker.id])
