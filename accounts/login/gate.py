"""How many passwords are hashed at once in one process: argon2 takes 100 MB of memory for each."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition

from django.conf import settings

WAIT_SECONDS = 5.0
"""How long an attempt waits for its turn."""
MOST_WAITING = 32
"""How many attempts wait in one process. Each holds a thread."""


class LoginBusy(Exception):
    """Too many log-ins at once: the attempt was not made."""


class Gate:
    """Lets in at most ``LOGIN_HASHES_AT_ONCE`` attempts, and one of each network, so that one network cannot keep all others waiting."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._inside: set[str] = set()
        self._waiting = 0

    @contextmanager
    def entered(self, network: str, wait_seconds: float = WAIT_SECONDS) -> Iterator[None]:
        """Hold one place for the block. Raises LoginBusy if none is free in time, or if too many wait already."""
        self._enter(network, time.monotonic() + wait_seconds)
        try:
            yield
        finally:
            with self._changed:
                self._inside.discard(network)
                self._changed.notify_all()

    def _enter(self, network: str, deadline: float) -> None:
        with self._changed:
            if not self._is_free(network):
                self._wait(network, deadline)
            self._inside.add(network)

    def _wait(self, network: str, deadline: float) -> None:
        if self._waiting >= MOST_WAITING:
            raise LoginBusy
        self._waiting += 1
        try:
            if not self._changed.wait_for(lambda: self._is_free(network), timeout=deadline - time.monotonic()):
                raise LoginBusy
        finally:
            self._waiting -= 1

    def _is_free(self, network: str) -> bool:
        return network not in self._inside and len(self._inside) < settings.LOGIN_HASHES_AT_ONCE


GATE = Gate()
"""The one of this process."""
