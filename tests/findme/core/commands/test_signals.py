"""Ctrl-C and SIGTERM while steps run that must end together."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from findme.core.commands.signals import without_interruption


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_without_interruption__the_block_ends_and_the_handler_is_back(number: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    caught: list[int] = []
    before = signal.signal(number, lambda found, _frame: caught.append(found))
    try:
        with without_interruption():
            os.kill(os.getpid(), number)
        assert caught == []
        os.kill(os.getpid(), number)
        assert caught == [number]
    finally:
        signal.signal(number, before)


def test_without_interruption__in_another_thread__does_nothing() -> None:
    handlers: list[object] = []

    def run() -> None:
        with without_interruption():
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGINT)]
