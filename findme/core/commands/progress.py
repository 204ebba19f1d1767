"""Progress of a long job on stderr: a bar on a terminal, plain lines otherwise.

A job of less than two seconds shows nothing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

SILENT_SECONDS = 2.0
"""A shorter job shows no progress."""
LINE_SECONDS = 5.0
"""Time between two plain lines."""

Clock = Callable[[], float]


class Report(Protocol):
    """A callback of a long function. It receives how much is done, and the total if that is known."""

    def __call__(self, done: int, total: int | None = None, /) -> None: ...


def ignore_progress(*_: object) -> None:
    """Do nothing: the callback for a caller that does not show progress."""


@contextmanager
def progress(what: str, *, stream: TextIO | None = None, clock: Clock = time.monotonic) -> Iterator[Report]:
    """Show the progress of the block. ``what`` is its title, for example "Writing points"."""
    stream = sys.stderr if stream is None else stream
    display = _Bar(what, stream) if stream.isatty() else _Lines(what, stream, clock)
    report = _DelayedReport(display, clock)
    try:
        yield report
    finally:
        display.end()


class _Display(Protocol):
    def update(self, done: int, total: int | None) -> None: ...

    def end(self) -> None: ...


class _DelayedReport:
    """Ignores all calls in the first two seconds."""

    def __init__(self, display: _Display, clock: Clock) -> None:
        self.display, self.clock, self.begun = display, clock, clock()

    def __call__(self, done: int, total: int | None = None, /) -> None:
        if self.clock() - self.begun >= SILENT_SECONDS:
            self.display.update(done, total)


class _Bar:
    """A progress bar that disappears when the job ends."""

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
    """A line every few seconds, for a log file."""

    def __init__(self, what: str, stream: TextIO, clock: Clock) -> None:
        self.what, self.stream, self.clock = what, stream, clock
        self.next_line = float("-inf")

    def update(self, done: int, total: int | None) -> None:
        if self.clock() >= self.next_line:
            self.next_line = self.clock() + LINE_SECONDS
            self.stream.write(f"{self.what}: {done:,}{f' of {total:,} ({done * 100 // total} %)' if total else ''}\n")
            self.stream.flush()

    def end(self) -> None:
        """Do nothing: the command prints the result."""
