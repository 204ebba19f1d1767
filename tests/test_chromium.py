"""Browser tests do not affect other tests of the same process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection, connections

from tests.chromium import pytest_runtest_protocol


@pytest.fixture
def running_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop that is marked as running in this thread, like Playwright's."""
    loop = asyncio.new_event_loop()
    asyncio._set_running_loop(loop)
    yield loop
    asyncio._set_running_loop(None)
    loop.close()


def protocol(*fixtures: str) -> Any:
    return pytest_runtest_protocol(SimpleNamespace(fixturenames=fixtures))  # type: ignore[arg-type]


def test_protocol__without_the_browser__hides_the_loop(running_loop: asyncio.AbstractEventLoop) -> None:
    wrapper = protocol("db")
    next(wrapper)
    assert asyncio._get_running_loop() is None
    with pytest.raises(StopIteration) as ended:
        wrapper.send(True)
    assert ended.value.value is True
    assert asyncio._get_running_loop() is running_loop


@pytest.mark.django_db
def test_protocol__without_the_browser__has_the_connection_of_the_thread() -> None:
    outside, loop = connections["default"], asyncio.new_event_loop()
    asyncio._set_running_loop(loop)
    try:
        other = connections["default"]
        wrapper = protocol("db")
        next(wrapper)
        inside = connections["default"]
        wrapper.close()
    finally:
        asyncio._set_running_loop(None)
        loop.close()
    assert inside is outside is not other
    assert connection.in_atomic_block


def test_protocol__with_the_browser__closes_the_connections_of_the_loop(
    running_loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrapper = protocol("chromium", "db")
    next(wrapper)
    assert asyncio._get_running_loop() is running_loop
    closed: list[bool] = []
    monkeypatch.setattr(connections["default"], "close", lambda: closed.append(True))
    with pytest.raises(StopIteration):
        wrapper.send(None)
    assert closed == [True]
