"""What the programs of a storm have in common."""

from __future__ import annotations

import itertools
import threading
import time
from abc import abstractmethod
from collections.abc import Collection, Iterator
from typing import ClassVar

from django.db import connection

MORE_SECONDS = 60
"""After the storm, for what has not happened yet."""


class Program(threading.Thread):
    """Takes turns until the storm is over and nothing is lacking. ``error`` is what it raised, for the storm to raise."""

    pause_seconds: ClassVar[float]

    def __init__(self, over: threading.Event) -> None:
        super().__init__()
        self.over = over
        self.error: BaseException | None = None

    @abstractmethod
    def work(self) -> None:
        """Do something in each of the ``turns``."""

    @abstractmethod
    def lacking(self) -> Collection[object]:
        """Return what has to happen and has not happened yet."""

    def run(self) -> None:
        try:
            self.work()
        except BaseException as error:  # noqa: BLE001  # the storm raises it
            self.error = error
        finally:
            connection.close()

    def turns(self) -> Iterator[int]:
        """Yield the number of each turn. What is lacking when the time after the storm is over is named by the storm."""
        deadline = 0.0
        for number in itertools.count():
            if self.over.wait(self.pause_seconds):
                deadline = deadline or time.monotonic() + MORE_SECONDS
                if not self.lacking() or time.monotonic() > deadline:
                    return
            yield number
