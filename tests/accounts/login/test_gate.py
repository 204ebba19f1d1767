"""How many are inside at once: real threads."""

from __future__ import annotations

import threading
import time

import pytest
from pytest_django import Settings

from accounts.login import gate
from accounts.login.gate import Gate, LoginBusy


def run_together(work: list[object]) -> None:
    threads = [threading.Thread(target=one) for one in work if callable(one)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def most_inside(networks: list[str]) -> tuple[int, int]:
    """Enter once for each of ``networks`` at the same time; the most that were inside at once, and how many came in at all."""
    tested, lock = Gate(), threading.Lock()
    inside = most = done = 0

    def enter(network: str) -> None:
        nonlocal inside, most, done
        with tested.entered(network, wait_seconds=60):
            with lock:
                inside += 1
                most = max(most, inside)
            time.sleep(0.01)
            with lock:
                inside -= 1
                done += 1

    run_together([lambda network=network: enter(network) for network in networks])
    return most, done


def test_gate__at_most_so_many_at_once(settings: Settings) -> None:
    settings.LOGIN_HASHES_AT_ONCE = 3
    assert most_inside([f"192.0.2.{n}" for n in range(24)]) == (3, 24)


def test_gate__one_of_each_network(settings: Settings) -> None:
    settings.LOGIN_HASHES_AT_ONCE = 3
    assert most_inside(["192.0.2.1"] * 12) == (1, 12)


def test_gate__busy_when_no_place_is_free_in_time(settings: Settings) -> None:
    settings.LOGIN_HASHES_AT_ONCE = 1
    tested = Gate()
    with tested.entered("192.0.2.1"), pytest.raises(LoginBusy), tested.entered("192.0.2.2", wait_seconds=0.01):
        raise AssertionError
    with tested.entered("192.0.2.2", wait_seconds=0):
        pass


def test_gate__busy_at_once_when_many_wait(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.LOGIN_HASHES_AT_ONCE = 1
    monkeypatch.setattr(gate, "MOST_WAITING", 0)
    tested = Gate()
    with tested.entered("192.0.2.1"), pytest.raises(LoginBusy), tested.entered("192.0.2.2", wait_seconds=600):
        raise AssertionError


def test_gate__an_error_inside_frees_the_place() -> None:
    tested = Gate()
    with pytest.raises(ZeroDivisionError), tested.entered("192.0.2.1"):
        _ = 1 / 0
    with tested.entered("192.0.2.1", wait_seconds=0):
        pass
