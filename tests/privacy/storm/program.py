"""Base class for the programs of a storm."""

from __future__ import annotations

import itertools
import threading
import time
from abc import abstractmethod
from collections.abc import Collection, Iterator
from typing import ClassVar

from django.db import connection

MORE_SECONDS = 60
"""Seconds after the storm for outcomes that are still missing."""


class Program(threading.Thread):
    """Run turns until the storm is over and no outcome is missing. ``error`` holds an exception, which the storm raises."""

    pause_seconds: ClassVar[float]

    def __init__(self, over: threading.Event) -> None:
        super().__init__()
        self.over = over
        self.error: BaseException | None = None

    @abstractmethod
    def work(self) -> None:
        """Do the work of the program in each of the ``turns``."""

    @abstractmethod
    def missing(self) -> Collection[object]:
        """Return the outcomes that are still missing."""

    def run(self) -> None:
        try:
            self.work()
        except BaseException as error:  # noqa: BLE001  # the storm raises it
            self.error = error
        finally:
            connection.close()

    def turns(self) -> Iterator[int]:
        """Yield the number of each turn, until the time after the storm is over. The storm reports outcomes that are missing then."""
        deadline = 0.0
        for number in itertools.count():
            if self.over.wait(self.pause_seconds):
                deadline = deadline or time.monotonic() + MORE_SECONDS
                if not self.missing() or time.monotonic() > deadline:
                    return
            yield number
