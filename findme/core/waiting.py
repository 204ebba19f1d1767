"""Wait for a condition until a deadline, or for as long as there is progress.

The monotonic clock measures the time, so a change of the system's clock moves no deadline. Ctrl-C ends each wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

POLL_SECONDS = 0.1
"""Between two looks at what another process or Qdrant does."""

Result = TypeVar("Result")


class Deadline:
    """The moment that is ``seconds`` from now."""

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
        """Yield at once, then after each pause of ``seconds``. The last time is after the deadline: what happened in the last pause
        counts."""
        yield
        while not self.is_over():
            self.pause(seconds)
            yield


class StallTimeout(Deadline):
    """A deadline that moves with each progress: it is over ``seconds`` after the last one."""

    _seen: object = None

    def restart(self) -> None:
        self._at = time.monotonic() + self.seconds

    def observe(self, seen: object) -> None:
        """Restart if ``seen`` differs from what was seen last."""
        if seen != self._seen:
            self._seen = seen
            self.restart()


def wait_until(condition: Callable[[], Result], seconds: float, *, poll_seconds: float = POLL_SECONDS) -> Result:
    """Call ``condition`` until its result is true or the time is over, at least once. Return its last result."""
    for _ in Deadline(seconds).polls(poll_seconds):
        if result := condition():
            break
    return result
