"""Shutdown of a worker after a signal, within ten seconds even if a store is frozen.

The same alarm limits a statement when PostgreSQL does not answer for a long time.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import FrameType
from typing import Any

from django.db import OperationalError, connection

GRACE_SECONDS, RELEASE_SECONDS = 5.0, 3.0
"""Time after the signal to finish the current batch, and then to release its leases."""
STATEMENT_SECONDS = 30.0
"""Limit for one statement of a worker. No statement takes this long unless PostgreSQL is frozen; PostgreSQL then counts as unavailable."""


class ShutdownRequested(BaseException):
    """A signal asked the worker to end, and the time to finish the current batch is over."""


def reach_postgresql() -> None:
    """Connect to PostgreSQL if there is no connection, with the statement deadline.

    Django sends statements on a new connection past the execute wrappers, so the wrapper of ``GracefulShutdown`` does not limit them.
    """
    with statement_deadline():
        connection.ensure_connection()


_active: list[GracefulShutdown] = []
"""The object that handles the signals now: at most one."""


@contextmanager
def statement_deadline() -> Iterator[None]:
    """Limit a block that waits only for PostgreSQL, such as a commit. Raise OperationalError if it takes too long.

    This has an effect only in the main thread of a worker that handles signals.
    """
    with _active[-1].statement_deadline() if _active and threading.current_thread() is threading.main_thread() else nullcontext():
        yield


@contextmanager
def no_statement_deadline() -> Iterator[None]:
    """Lift the limit for a statement that reads a whole table."""
    with _active[-1].no_statement_deadline() if _active and threading.current_thread() is threading.main_thread() else nullcontext():
        yield


class GracefulShutdown:
    """Signal handlers that end a worker.

    A signal ends an idle worker at once. Otherwise the worker has ``GRACE_SECONDS`` to finish its batch and ``RELEASE_SECONDS`` to release it.
    ``statement_seconds`` limits each statement until then.
    """

    def __init__(self, statement_seconds: float = STATEMENT_SECONDS) -> None:
        self.requested = self.idle = self.limited = self.unlimited = False
        self.statement_seconds = statement_seconds

    @contextmanager
    def caught(self, *signals: signal.Signals) -> Iterator[None]:
        """Handle the signals during the block. Does nothing outside the main thread, because only that thread receives signals."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._on_signal) for number in signals}
        before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._on_alarm)
        _active.append(self)
        try:
            with connection.execute_wrapper(self._with_deadline):
                yield
        finally:
            _active.remove(self)
            signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def may_interrupt(self) -> Iterator[None]:
        """Let a signal end the block at once, because the worker holds no batch in it."""
        self.idle = True
        try:
            if self.requested:
                raise ShutdownRequested
            yield
        finally:
            self.idle = False

    @contextmanager
    def statement_deadline(self) -> Iterator[None]:
        if self.requested or self.limited or self.unlimited:
            yield
            return
        self.limited = True
        self._set_alarm(self.statement_seconds)
        try:
            yield
        finally:
            self.limited = False
            self._set_alarm(0)

    @contextmanager
    def no_statement_deadline(self) -> Iterator[None]:
        if self.requested or self.unlimited:
            yield
            return
        self.unlimited = True
        self._set_alarm(0)
        try:
            yield
        finally:
            self.unlimited = False
            self._set_alarm(self.statement_seconds if self.limited else 0)

    def _set_alarm(self, seconds: float) -> None:
        """Set the alarm (0: none), unless a shutdown is requested: then the alarm for the grace period stays."""
        if not self.requested:
            signal.setitimer(signal.ITIMER_REAL, seconds)
            # A signal between the check and setitimer has set the grace period, which the line above has replaced.
            self._restore_grace_period()

    def _restore_grace_period(self) -> None:
        if self.requested:
            signal.setitimer(signal.ITIMER_REAL, GRACE_SECONDS)

    def _with_deadline(self, execute: Any, sql: str, parameters: Any, many: bool, context: Any) -> Any:
        with self.statement_deadline():
            return execute(sql, parameters, many, context)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if not self.requested:
            self.requested = True
            signal.setitimer(signal.ITIMER_REAL, GRACE_SECONDS)
        if self.idle:
            raise ShutdownRequested

    def _on_alarm(self, _number: int, _frame: FrameType | None) -> None:
        """Raise for a statement that is too slow. After a signal, interrupt the batch.

        If even the release of the batch takes too long, PostgreSQL is frozen too: the process exits and its leases expire.
        """
        if not self.requested:
            raise OperationalError(f"it has not answered for {self.statement_seconds:g} s")
        signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
        signal.setitimer(signal.ITIMER_REAL, RELEASE_SECONDS)
        raise ShutdownRequested
