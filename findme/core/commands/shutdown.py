"""Shutdown of a worker after a signal, within ten seconds even if a store is frozen.

The worker runs in a thread. The main thread only waits, so it can stop waiting for a worker that gets no answer from a store.
"""

from __future__ import annotations

import atexit
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import copy_context
from types import FrameType

from django.db import DEFAULT_DB_ALIAS, connections

from findme.core.program import INTERRUPTED
from findme.core.waiting import POLL_SECONDS

GRACE_SECONDS, RELEASE_SECONDS = 5.0, 3.0
"""Time after the signal to finish the current batch, and then to release its leases."""


class ShutdownRequested(Exception):
    """A signal asked the worker to end, and PostgreSQL does not answer."""


class GracefulShutdown:
    """Ends a worker after a signal.

    ``exit_codes`` has the signals and the exit codes of the process. ``requested`` tells the worker to end. Without signals, it is never set.
    """

    def __init__(self, exit_codes: Mapping[int, int] | None = None) -> None:
        self.exit_codes = exit_codes or {}
        self.requested = threading.Event()
        self.exit_code: int | None = None

    @contextmanager
    def signals_handled(self) -> Iterator[None]:
        """Handle the signals during the block. Outside the main thread, which alone receives signals, do nothing.

        If the block lasts too long after a signal, the process exits, and the leases of its worker expire.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handlers = dict.fromkeys(self.exit_codes, self._on_signal) | {signal.SIGALRM: self._exit}
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in before.items():
                signal.signal(number, handler)

    def run(self, work: Callable[[], None]) -> None:
        """Run ``work`` until it ends, or until ``GRACE_SECONDS`` after a signal.

        Raises the error of ``work``, and KeyboardInterrupt after a signal with that exit code.
        """
        if not self.exit_codes:
            work()
            return
        connection, errors = connections[DEFAULT_DB_ALIAS], list[BaseException]()

        def carry_out() -> None:
            connections[DEFAULT_DB_ALIAS] = connection
            try:
                work()
            except BaseException as error:  # noqa: BLE001  # the main thread raises it
                errors.append(error)

        connection.inc_thread_sharing()
        thread = threading.Thread(target=copy_context().run, args=[carry_out], daemon=True)
        thread.start()
        while thread.is_alive() and self.exit_code is None:
            thread.join(POLL_SECONDS)
        if self.exit_code is not None:
            self.requested.set()
            thread.join(GRACE_SECONDS)
        is_abandoned = thread.is_alive()
        # From now on Django rejects every statement of the thread. So it renews no lease, and sends nothing to Qdrant.
        connection.dec_thread_sharing()
        if is_abandoned:
            # Python's own exit would close the stores while the thread uses them.
            atexit.register(self._exit)
            del connections[DEFAULT_DB_ALIAS]
        elif errors:
            raise errors[0]
        if self.exit_code == INTERRUPTED:
            raise KeyboardInterrupt

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        """Note the first signal. This may run in the middle of any statement, so ``run`` does the rest."""
        if self.exit_code is None:
            self.exit_code = self.exit_codes[number]
            signal.setitimer(signal.ITIMER_REAL, GRACE_SECONDS + RELEASE_SECONDS)

    def _exit(self, *_signal: object) -> None:
        os._exit(self.exit_code or 0)
