"""How far a long job has come, on stderr: a bar on a terminal, plain lines elsewhere, nothing for a job of less than two seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

SILENT_SECONDS = 2.0
"""What is done sooner says nothing."""
LINE_SECONDS = 5.0
"""Between two plain lines."""

Clock = Callable[[], float]


class Report(Protocol):
    """What a long function is handed: it calls it with how much is done, and with how much there is if it knows."""

    def __call__(self, done: int, total: int | None = None, /) -> None: ...


def ignore_progress(*_: object) -> None:
    """Do nothing: the callback of whoever does not show progress."""


@contextmanager
def progress(what: str, *, stream: TextIO | None = None, clock: Clock = time.monotonic) -> Iterator[Report]:
    """Report on WHAT ("Projecting people") while the block runs."""
    stream = sys.stderr if stream is None else stream
    shown = _Bar(what, stream) if stream.isatty() else _Lines(what, stream, clock)
    patient = _Patient(shown, clock)
    try:
        yield patient
    finally:
        shown.end()


class _Shown(Protocol):
    def update(self, done: int, total: int | None) -> None: ...

    def end(self) -> None: ...


class _Patient:
    """Passes on nothing before two seconds are over."""

    def __init__(self, shown: _Shown, clock: Clock) -> None:
        self.shown, self.clock, self.begun = shown, clock, clock()

    def __call__(self, done: int, total: int | None = None, /) -> None:
        if self.clock() - self.begun >= SILENT_SECONDS:
            self.shown.update(done, total)


class _Bar:
    """A bar that is gone when the job is."""

    def __init__(self, what: str, stream: TextIO) -> None:
        self.what = what
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(file=stream),
            transient=True,
        )
        self.task: TaskID | None = None

    def update(self, done: int, total: int | None) -> None:
        if self.task is None:
            self.task = self.bar.add_task(self.what, total=total)
            self.bar.start()
        self.bar.update(self.task, completed=done, total=total)

    def end(self) -> None:
        self.bar.stop()


class _Lines:
    """A line now and then, for a log file."""

    def __init__(self, what: str, stream: TextIO, clock: Clock) -> None:
        self.what, self.stream, self.clock = what, stream, clock
        self.next_line = float("-inf")

    def update(self, done: int, total: int | None) -> None:
        if self.clock() >= self.next_line:
            self.next_line = self.clock() + LINE_SECONDS
            self.stream.write(f"{self.what}: {done:,}{f' of {total:,} ({done * 100 // total} %)' if total else ''}\n")
            self.stream.flush()

    def end(self) -> None:
        """Nothing: the command says how it ended."""
