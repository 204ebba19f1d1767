"""How many passwords are hashed at once in one process: argon2 takes 100 MB of memory for each."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from threading import Condition

from django.conf import settings

WAIT_SECONDS = 5.0
"""How long an attempt waits for its turn."""
MOST_WAITING = 4
"""How many attempts wait in one process. Each holds a thread, and a process has few: 8 with the documented command."""


class LoginBusy(Exception):
    """Too many passwords at once: none was hashed or verified."""


class Gate:
    """Lets in at most ``LOGIN_HASHES_AT_ONCE`` attempts at once, in the order in which they came.

    One attempt of each network is inside, and one waits. Every other attempt of that network is refused at once, so a network takes one of the
    places in the queue, and an attempt that waits lets at most ``MOST_WAITING - 1`` others pass.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._inside: set[Hashable] = set()
        self._queue: list[Hashable] = []

    @contextmanager
    def entered(self, network: str | None, wait_seconds: float | None = None) -> Iterator[None]:
        """Hold one place for the block. ``None`` stands for an unknown network, which is a different one each time.

        Raises LoginBusy if no place is free in time, and without waiting if this network or too many others wait already.
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
        if len(self._queue) >= MOST_WAITING:
            raise LoginBusy
        self._queue.append(key)
        try:
            if not self._changed.wait_for(lambda: self._is_next(key), timeout=wait_seconds):
                raise LoginBusy
        finally:
            self._queue.remove(key)
            self._changed.notify_all()  # another place may be free for the next in the queue

    def _is_next(self, key: Hashable) -> bool:
        """Whether a place is free, and no attempt that came earlier could take it."""
        if key in self._inside or len(self._inside) >= settings.LOGIN_HASHES_AT_ONCE:
            return False
        earlier = self._queue[: self._queue.index(key)] if key in self._queue else self._queue
        return all(other in self._inside for other in earlier)


GATE = Gate()
"""The one of this process."""
