"""Probe the stores at most once in five seconds, and wait for a hung store less than a load balancer does."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from findme.web.health.probes import probe_postgresql, probe_qdrant
from findme.web.health.report import PostgresqlReport, Report, Status

T = TypeVar("T")

log = logging.getLogger(__name__)

CACHED_SECONDS = 5.0
WAIT_SECONDS = 3.0
"""Longest time of a check, for both stores together. Many load balancers wait five seconds."""


class Watched(Generic[T]):
    """The last result of ``probe``, which runs in a separate thread. Never do two run at the same time, so a hung store blocks one thread."""

    def __init__(self, probe: Callable[[], T], *, failed: T, hung: T) -> None:
        self._probe, self._failed, self._hung = probe, failed, hung
        self._changed = threading.Condition()
        self._running = False
        self._result: T | None = None
        self._begun_at = self._seen_at = float("-inf")

    def begin(self) -> None:
        """Start a probe unless one is running or the last result is fresh."""
        with self._changed:
            if self._running or self._is_fresh():
                return
            self._running, self._begun_at = True, time.monotonic()
        threading.Thread(target=self._run, name=f"readyz {self._probe.__name__}", daemon=True).start()

    def result(self) -> T:
        """Return a fresh result; ``hung`` if there is none ``WAIT_SECONDS`` after the probe began."""
        with self._changed:
            remaining = self._begun_at + WAIT_SECONDS - time.monotonic()
            if self._changed.wait_for(self._is_fresh, timeout=max(0.0, remaining)) and self._result is not None:
                return self._result
            return self._hung

    def _run(self) -> None:
        result = self._failed
        try:
            result = self._probe()
        except Exception:
            log.exception("A check of /readyz failed.")
        finally:
            with self._changed:
                self._result, self._seen_at, self._running = result, time.monotonic(), False
                self._changed.notify_all()

    def _is_fresh(self) -> bool:
        return time.monotonic() - self._seen_at < CACHED_SECONDS


class Watcher:
    def __init__(self) -> None:
        self._postgresql = Watched(probe_postgresql, failed=PostgresqlReport(Status.UNAVAILABLE), hung=PostgresqlReport(Status.NO_ANSWER))
        self._qdrant = Watched(probe_qdrant, failed=Status.UNAVAILABLE, hung=Status.NO_ANSWER)

    def report(self) -> Report:
        for watched in (self._postgresql, self._qdrant):
            watched.begin()
        return Report(self._postgresql.result(), self._qdrant.result())


WATCHER = Watcher()
"""The watcher of this process."""
