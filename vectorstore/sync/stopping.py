"""What a worker does when it is told to end: by a signal, within ten seconds, whatever is frozen."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

GRACE_SECONDS, FAREWELL_SECONDS = 5.0, 3.0
"""After the signal: for the batch in hand, and then for giving it back."""


class Stopped(BaseException):
    """The worker was told to end, and the batch in hand is not to be waited for any longer."""


class Stopping:
    """At once where nothing is in hand, else the batch has some seconds to end, and some more to be given back."""

    def __init__(self) -> None:
        self.requested = self.idle = False

    @contextmanager
    def caught(self, *signals: signal.Signals) -> Iterator[None]:
        """In the main thread, which alone is told of signals."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._stop) for number in signals}
        before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._over)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in before.items():
                signal.signal(number, handler)

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

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        if not self.requested:
            self.requested = True
            signal.setitimer(signal.ITIMER_REAL, GRACE_SECONDS)
        if self.idle:
            raise Stopped

    def _over(self, _number: int, _frame: FrameType | None) -> None:
        """First the batch is broken off; if not even giving it back ends, PostgreSQL is frozen as well: its lease runs out by itself."""
        signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
        signal.setitimer(signal.ITIMER_REAL, FAREWELL_SECONDS)
        raise Stopped
