"""What a worker does when it is told to end, by a signal: within ten seconds, whatever is frozen. And where PostgreSQL does not answer for long."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import FrameType
from typing import Any

from django.db import OperationalError, connection

GRACE_SECONDS, FAREWELL_SECONDS = 5.0, 3.0
"""After the signal: for the batch in hand, and then for releasing it."""
SILENT_SECONDS = 30.0
"""No statement of a worker takes so long, unless PostgreSQL is frozen: it is unavailable then."""


class ShutdownRequested(BaseException):
    """The worker was told to end, and the batch in hand is not to be waited for any longer."""


def reach_postgresql() -> None:
    """Connect, unless there is a connection: in time, where a worker's signals are caught. What Django asks on a new one, nobody is told of."""
    with statement_deadline():
        connection.ensure_connection()


_caught: list[GracefulShutdown] = []
"""Whose signals are caught just now: at most one's."""


@contextmanager
def statement_deadline() -> Iterator[None]:
    """For what asks PostgreSQL and nobody else, as a commit. Raises OperationalError where it takes too long and a worker's signals are caught."""
    with _caught[-1].statement_deadline() if _caught and threading.current_thread() is threading.main_thread() else nullcontext():
        yield


@contextmanager
def no_statement_deadline() -> Iterator[None]:
    """For a statement that goes through a whole table: it takes what it takes."""
    with _caught[-1].no_statement_deadline() if _caught and threading.current_thread() is threading.main_thread() else nullcontext():
        yield


class GracefulShutdown:
    """At once where nothing is in hand, else the batch has some seconds to end, and some more to be released."""

    def __init__(self, silent_seconds: float = SILENT_SECONDS) -> None:
        self.requested = self.idle = self.limited = self.patient = False
        self.silent_seconds = silent_seconds

    @contextmanager
    def caught(self, *signals: signal.Signals) -> Iterator[None]:
        """In the main thread, which alone is told of signals."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._stop) for number in signals}
        before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._over)
        _caught.append(self)
        try:
            with connection.execute_wrapper(self._with_deadline):
                yield
        finally:
            _caught.remove(self)
            signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def may_interrupt(self) -> Iterator[None]:
        """Nothing is in hand in the block: a signal ends it at once."""
        self.idle = True
        try:
            if self.requested:
                raise ShutdownRequested
            yield
        finally:
            self.idle = False

    @contextmanager
    def statement_deadline(self) -> Iterator[None]:
        if self.requested or self.limited or self.patient:
            yield
            return
        self.limited = True
        self._arm(self.silent_seconds)
        try:
            yield
        finally:
            self.limited = False
            self._arm(0)

    @contextmanager
    def no_statement_deadline(self) -> Iterator[None]:
        if self.requested or self.patient:
            yield
            return
        self.patient = True
        self._arm(0)
        try:
            yield
        finally:
            self.patient = False
            self._arm(self.silent_seconds if self.limited else 0)

    def _arm(self, seconds: float) -> None:
        """The alarm in SECONDS, or none; but whoever is told to end, be it just now, has the grace."""
        if not self.requested:
            signal.setitimer(signal.ITIMER_REAL, seconds)
            self._keep_the_grace()

    def _keep_the_grace(self) -> None:
        if self.requested:
            signal.setitimer(signal.ITIMER_REAL, GRACE_SECONDS)

    def _with_deadline(self, execute: Any, sql: str, parameters: Any, many: bool, context: Any) -> Any:
        with self.statement_deadline():
            return execute(sql, parameters, many, context)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        if not self.requested:
            self.requested = True
            signal.setitimer(signal.ITIMER_REAL, GRACE_SECONDS)
        if self.idle:
            raise ShutdownRequested

    def _over(self, _number: int, _frame: FrameType | None) -> None:
        """Told to end, first the batch is broken off; if not even releasing it ends, PostgreSQL is frozen as well: its lease runs out by
        itself."""
        if not self.requested:
            raise OperationalError(f"it has not answered for {self.silent_seconds:g} s")
        signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
        signal.setitimer(signal.ITIMER_REAL, FAREWELL_SECONDS)
        raise ShutdownRequested
