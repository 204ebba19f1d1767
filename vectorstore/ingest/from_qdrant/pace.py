"""Limit the number of points that are read in a second."""

from __future__ import annotations

import time
from collections.abc import Callable


class Pace:
    """Wait between pages, so that ``rate`` points a second (None: no limit) are never exceeded, also not after a slow page."""

    def __init__(
        self, rate: int | None, *, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        self._rate, self._clock, self._sleep = rate, clock, sleep
        self._ended = clock()

    def page_size(self, most: int) -> int:
        """Return the size of a page that takes at most a second."""
        return most if self._rate is None else min(most, self._rate)

    def wait(self, points: int) -> None:
        """Wait until ``points`` more may have been read."""
        if self._rate is None:
            return
        remaining = self._ended + points / self._rate - self._clock()
        if remaining > 0:
            self._sleep(remaining)
        self._ended = self._clock()
