"""Waiting, with a clock that only pauses advance."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from findme.core import waiting
from findme.core.waiting import POLL_SECONDS, Deadline, StallTimeout, wait_until


class Clock:
    """A monotonic clock. ``pauses`` has the duration of each sleep."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(waiting, "time", clock)
    return clock


def results(*values: object) -> Iterator[object]:
    """Return a condition with these results. It repeats the last one."""
    yield from values
    while True:
        yield values[-1]


def test_wait_until__true_at_once__does_not_pause(clock: Clock) -> None:
    assert wait_until(lambda: "ready", 10) == "ready"
    assert clock.pauses == []


def test_wait_until__returns_the_result_that_is_true(clock: Clock) -> None:
    values = results("", "", "ready")
    assert wait_until(lambda: next(values), 10) == "ready"
    assert clock.pauses == [POLL_SECONDS, POLL_SECONDS]


def test_wait_until__never_true__returns_the_last_result_at_the_deadline(clock: Clock) -> None:
    calls: list[float] = []

    def condition() -> int:
        calls.append(clock.now - 1000)
        return 0

    assert wait_until(condition, 1, poll_seconds=0.4) == 0
    assert calls == pytest.approx([0, 0.4, 0.8, 1])


def test_wait_until__change_during_the_last_pause_is_seen(clock: Clock) -> None:
    assert wait_until(lambda: clock.now >= 1001, 1, poll_seconds=60)
    assert clock.pauses == [1]


@pytest.mark.parametrize("seconds", [0, -1])
def test_wait_until__without_time__checks_once(clock: Clock, seconds: float) -> None:
    looks = [False, True]
    assert wait_until(looks.pop, seconds)
    assert not wait_until(looks.pop, seconds)
    assert clock.pauses == []


def test_wait_until__an_error_of_the_condition_ends_it(clock: Clock) -> None:
    with pytest.raises(ZeroDivisionError):
        wait_until(lambda: 1 / 0, 10)


def test_deadline__remaining_is_never_negative(clock: Clock) -> None:
    deadline = Deadline(2)
    clock.now += 1.5
    assert (deadline.seconds, deadline.remaining(), deadline.is_over()) == (2, 0.5, False)
    deadline.pause(60)
    assert (deadline.remaining(), deadline.is_over(), clock.pauses) == (0, True, [0.5])
    clock.now += 1
    assert (deadline.remaining(), deadline.is_over()) == (0, True)


def test_deadline__is_measured_by_the_monotonic_clock(clock: Clock) -> None:
    """The replacement of the module ``time`` has no other clock."""
    assert [None for _ in Deadline(0.3).polls(0.1)] == 4 * [None]


def test_stall_timeout__progress_restarts_it(clock: Clock) -> None:
    stall = StallTimeout(1)
    for remaining in (9, 8, 7):
        clock.now += 0.9
        stall.observe(remaining)
        assert stall.remaining() == 1
    clock.now += 0.9
    stall.observe(7)
    assert stall.remaining() == pytest.approx(0.1)
    stall.restart()
    assert stall.remaining() == 1


def test_stall_timeout__first_observation_is_progress(clock: Clock) -> None:
    stall = StallTimeout(1)
    clock.now += 5
    stall.observe("begun")
    assert not stall.is_over()


def test_stall_timeout__polls_for_as_long_as_there_is_progress(clock: Clock) -> None:
    stall, looks = StallTimeout(1), 0
    for _ in stall.polls(0.5):
        looks += 1
        stall.observe(min(looks, 10))
    assert looks == 12
    assert clock.now == 1000 + 4.5 + 1


def test_wait_until__ctrl_c_ends_it() -> None:
    program = (
        "print('begun', flush=True) or __import__('findme.core.waiting').core.waiting.wait_until(lambda: False, 600, poll_seconds=600)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err.splitlines()[-1]) == (-signal.SIGINT, "KeyboardInterrupt")
