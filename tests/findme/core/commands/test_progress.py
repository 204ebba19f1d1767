import io

import pytest

from findme.core.commands.progress import ignore_progress, progress
from tests.support.progress_lines import without_progress
from tests.support.terminal import Terminal


@pytest.fixture(autouse=True)
def silent_progress() -> None:
    """A terminal, as on the machine of a user."""


class Clock:
    """A clock that only the test advances."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_progress__short_job_shows_nothing() -> None:
    for stream in (io.StringIO(), Terminal()):
        clock = Clock()
        with progress("Counting sheep", stream=stream, clock=clock) as report:
            report(1, 10)
            clock.now = 1.9
            report(10, 10)
        assert stream.getvalue() == ""


def test_progress__plain_lines_without_a_terminal() -> None:
    stream, clock = io.StringIO(), Clock()
    with progress("Counting sheep", stream=stream, clock=clock) as report:
        for second in range(14):
            clock.now = float(second)
            report(1000 * second, 20_000)
    assert stream.getvalue() == (
        "Counting sheep: 2,000 of 20,000 (10 %)\nCounting sheep: 7,000 of 20,000 (35 %)\nCounting sheep: 12,000 of 20,000 (60 %)\n"
    )


def test_progress__plain_lines_without_a_total() -> None:
    stream, clock = io.StringIO(), Clock()
    with progress("Counting sheep", stream=stream, clock=clock) as report:
        clock.now = 2
        report(1234)
        clock.now = 7
        report(2345, 0)
    assert stream.getvalue() == "Counting sheep: 1,234\nCounting sheep: 2,345\n"


def test_progress__bar_on_a_terminal_disappears_at_the_end() -> None:
    stream, clock = Terminal(), Clock()
    with progress("Counting sheep", stream=stream, clock=clock) as report:
        clock.now = 2
        report(3, 10)
        report(4, 10)
    written = stream.getvalue()
    assert "Counting sheep" in written
    assert "/10" in written
    assert written.endswith("\x1b[2K")  # the line is cleared


def test_progress__stderr_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with progress("Counting sheep", clock=clock) as report:
        clock.now = 2
        report(1)
    assert capsys.readouterr() == ("", "Counting sheep: 1\n")


def test_ignore_progress__accepts_the_arguments_of_a_report() -> None:
    ignore_progress(1)
    ignore_progress(1, 2)


def test_without_progress__keeps_all_other_lines() -> None:
    stream, clock = io.StringIO(), Clock()
    for total in (20_000, None):
        with progress("Fetching profile_embeddings_v1-4711-2026-11-30-04-05-06.snapshot, bytes", stream=stream, clock=clock) as report:
            clock.now += 2
            report(1_500, total)
    assert len(stream.getvalue().splitlines()) == 2
    other = "CommandError: 5 points differ.\nWarning: 12 of 20\n5 users queued: 3\n"
    assert without_progress(f"{other}{stream.getvalue()}{other}") == other * 2
