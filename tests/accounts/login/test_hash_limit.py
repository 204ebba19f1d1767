"""Number of attempts that run at once and that wait, with real threads."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pytest_django import Settings

from accounts.login import hash_limit
from accounts.login.hash_limit import HashLimit, LoginBusy
from findme import settings as findme_settings
from findme.environment import BASE_DIR
from tests.support.waiting import wait_until

DEADLINE = 60.0


def run_together(work: list[object]) -> None:
    threads = [threading.Thread(target=one) for one in work if callable(one)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def most_inside(networks: list[str]) -> tuple[int, int]:
    """Enter the limit for each of ``networks`` at the same time. Return the most inside at once, and how many entered in all."""
    tested, lock = HashLimit(), threading.Lock()
    inside = most = done = 0

    def enter(network: str) -> None:
        nonlocal inside, most, done
        with tested.entered(network, wait_seconds=DEADLINE):
            with lock:
                inside += 1
                most = max(most, inside)
            time.sleep(0.01)
            with lock:
                inside -= 1
                done += 1

    run_together([lambda network=network: enter(network) for network in networks])
    return most, done


class Attempt:
    """An attempt in its own thread. It waits for its turn, then stays inside until ``leave``."""

    def __init__(self, tested: HashLimit, network: str | None, order: list[str | None] | None = None) -> None:
        self.is_inside, self.may_leave, self.is_refused = threading.Event(), threading.Event(), threading.Event()
        self._arguments = tested, network, order if order is not None else []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        tested, network, order = self._arguments
        try:
            with tested.entered(network, wait_seconds=DEADLINE):
                order.append(network)
                self.is_inside.set()
                self.may_leave.wait(DEADLINE)
        except LoginBusy:
            self.is_refused.set()

    def leave(self) -> None:
        self.may_leave.set()
        self._thread.join(DEADLINE)


def wait_for_queue(tested: HashLimit, length: int) -> None:
    wait_until(lambda: len(tested._queue) == length, "The attempts wait", poll_seconds=0.001)


@contextmanager
def held(tested: HashLimit, *networks: str) -> Iterator[None]:
    """Hold an attempt of each network inside for the block."""
    attempts = [Attempt(tested, network) for network in networks]
    assert all(one.is_inside.wait(DEADLINE) for one in attempts)
    try:
        yield
    finally:
        for one in attempts:
            one.leave()


def test_gate__limits_concurrent_attempts(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.LOGIN_HASHES_AT_ONCE = 3
    monkeypatch.setattr(hash_limit, "MAX_WAITING", 24)
    assert most_inside([f"192.0.2.{n}" for n in range(24)]) == (3, 24)


def test_gate__one_of_each_network(settings: Settings) -> None:
    """One attempt is inside and one waits. The others are refused at once, and other networks can enter."""
    settings.LOGIN_HASHES_AT_ONCE = 3
    tested = HashLimit()
    with held(tested, "192.0.2.1"):
        waiting = Attempt(tested, "192.0.2.1")
        wait_for_queue(tested, 1)
        others = [Attempt(tested, "192.0.2.1") for _ in range(22)]
        assert all(one.is_refused.wait(DEADLINE) for one in others)
        assert not waiting.is_inside.is_set()
        for network in ("192.0.2.2", "192.0.2.3"):
            with tested.entered(network, wait_seconds=0):
                pass
    assert waiting.is_inside.wait(DEADLINE)
    waiting.leave()


def test_gate__keeps_the_order_of_arrival(settings: Settings) -> None:
    """With one place, a network that posts all the time does not overtake another that waits."""
    settings.LOGIN_HASHES_AT_ONCE = 1
    tested, order = HashLimit(), list[str | None]()
    networks: list[str | None] = ["192.0.2.2", "192.0.2.1", "192.0.2.3"]
    with held(tested, "192.0.2.1"):
        attempts = []
        for count, network in enumerate(networks, 1):
            attempts.append(Attempt(tested, network, order))
            wait_for_queue(tested, count)
    for one in attempts:
        assert one.is_inside.wait(DEADLINE)
        one.leave()
    assert order == networks


def test_gate__an_attempt_that_waits_for_its_network_does_not_block_others(settings: Settings) -> None:
    settings.LOGIN_HASHES_AT_ONCE = 2
    tested = HashLimit()
    with held(tested, "192.0.2.1"):
        waiting = Attempt(tested, "192.0.2.1")
        wait_for_queue(tested, 1)
        with tested.entered("192.0.2.2", wait_seconds=0):
            pass
    waiting.leave()


def test_gate__unknown_networks_count_as_different(settings: Settings) -> None:
    settings.LOGIN_HASHES_AT_ONCE = 2
    tested = HashLimit()
    with tested.entered(None), tested.entered(None, wait_seconds=0):
        pass


def test_gate__no_free_place_in_time__is_busy(settings: Settings) -> None:
    settings.LOGIN_HASHES_AT_ONCE = 1
    tested = HashLimit()
    with tested.entered("192.0.2.1"), pytest.raises(LoginBusy), tested.entered("192.0.2.2", wait_seconds=0.01):
        raise AssertionError
    with tested.entered("192.0.2.2", wait_seconds=0):
        pass


def test_gate__too_many_waiting__is_busy_at_once(settings: Settings) -> None:
    settings.LOGIN_HASHES_AT_ONCE = 1
    tested = HashLimit()
    with held(tested, "192.0.2.1"):
        waiting = [Attempt(tested, f"198.51.100.{n}") for n in range(hash_limit.MAX_WAITING)]
        wait_for_queue(tested, hash_limit.MAX_WAITING)
        assert Attempt(tested, "192.0.2.2").is_refused.wait(DEADLINE)
    for one in waiting:
        one.leave()


def test_gate__leaves_threads_of_the_documented_process_free() -> None:
    threads = re.search(r"--threads (\d+)", (BASE_DIR / "docs" / "how-to/deploy.md").read_text())
    assert threads is not None
    assert int(threads[1]) - 2 >= findme_settings.LOGIN_HASHES_AT_ONCE + hash_limit.MAX_WAITING


def test_gate__an_error_inside_frees_the_place() -> None:
    tested = HashLimit()
    with pytest.raises(ZeroDivisionError), tested.entered("192.0.2.1"):
        _ = 1 / 0
    with tested.entered("192.0.2.1", wait_seconds=0):
        pass
