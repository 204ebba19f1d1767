"""Wait for a condition until a deadline, or as long as there is progress.

Deadlines use the monotonic clock, so a change of the system clock does not move them. Ctrl-C ends every wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

POLL_SECONDS = 0.1
"""Pause between two checks of another process or of Qdrant."""

Result = TypeVar("Result")


class Deadline:
    """A time ``seconds`` after its creation."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._at = time.monotonic() + seconds

    def remaining(self) -> float:
        """Return the seconds until the deadline, 0 after it."""
        return max(0.0, self._at - time.monotonic())

    def is_over(self) -> bool:
        return self.remaining() == 0

    def pause(self, seconds: float = POLL_SECONDS) -> None:
        """Sleep, but not beyond the deadline."""
        time.sleep(min(seconds, self.remaining()))

    def polls(self, seconds: float = POLL_SECONDS) -> Iterator[None]:
        """Yield at once, then after each pause of ``seconds``.

        The last yield is after the deadline, so a change during the last pause is seen.
        """
        yield
        while not self.is_over():
            self.pause(seconds)
            yield


class StallTimeout(Deadline):
    """A timeout that restarts with each progress: it is over ``seconds`` after the last progress."""

    _seen: object = None

    def restart(self) -> None:
        self._at = time.monotonic() + self.seconds

    def observe(self, seen: object) -> None:
        """Restart if ``seen`` differs from the value of the previous call."""
        if seen != self._seen:
            self._seen = seen
            self.restart()


def wait_until(condition: Callable[[], Result], seconds: float, *, poll_seconds: float = POLL_SECONDS) -> Result:
    """Call ``condition`` at least once, until its result is true or ``seconds`` are over.

    Return the last result.
    """
    for _ in Deadline(seconds).polls(poll_seconds):
        if result := condition():
            break
    return result
