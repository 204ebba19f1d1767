"""Limit on concurrent password hashes in one process: argon2 uses 100 MB of memory for each."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from threading import Condition

from django.conf import settings

WAIT_SECONDS = 5.0
"""How long an attempt waits for its turn."""
MAX_WAITING = 4
"""Limit on waiting attempts in one process. Each blocks a thread, and the documented command starts 8 threads."""


class LoginBusy(Exception):
    """Too many concurrent password hashes: no password was hashed or verified."""


class HashLimit:
    """Semaphore for at most ``LOGIN_HASHES_AT_ONCE`` attempts, in the order of arrival.

    Per network, one attempt runs and one waits. The limit rejects every other attempt of that network immediately. So a network uses one place
    in the queue, and at most ``MAX_WAITING - 1`` other attempts pass a waiting attempt.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._inside: set[Hashable] = set()
        self._queue: list[Hashable] = []

    @contextmanager
    def entered(self, network: str | None, wait_seconds: float | None = None) -> Iterator[None]:
        """Hold one place for the block. Each ``None`` counts as a separate unknown network.

        Raise LoginBusy if no place is free in time, or immediately if this network or too many other networks already wait.
        """
        key: Hashable = object() if network is None else network
        with self._changed:
            self._enter(key, WAIT_SECONDS if wait_seconds is None else wait_seconds)
        try:
            yield
        finally:
            with self._changed:
                self._inside.discard(key)
                self._changed.notify_all()

    def _enter(self, key: Hashable, wait_seconds: float) -> None:
        if key in self._queue:
            raise LoginBusy
        if not self._is_next(key):
            self._wait(key, wait_seconds)
        self._inside.add(key)

    def _wait(self, key: Hashable, wait_seconds: float) -> None:
        if len(self._queue) >= MAX_WAITING:
            raise LoginBusy
        self._queue.append(key)
        try:
            if not self._changed.wait_for(lambda: self._is_next(key), timeout=wait_seconds):
                raise LoginBusy
        finally:
            self._queue.remove(key)
            self._changed.notify_all()  # the next attempt in the queue may now find a place

    def _is_next(self, key: Hashable) -> bool:
        """Return whether a place is free that no earlier attempt could take."""
        if key in self._inside or len(self._inside) >= settings.LOGIN_HASHES_AT_ONCE:
            return False
        earlier = self._queue[: self._queue.index(key)] if key in self._queue else self._queue
        return all(other in self._inside for other in earlier)


HASH_LIMIT = HashLimit()
"""The limit of this process."""
