"""WebSockets and too large bodies never reach Django under ASGI."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from findme.web.bounded_asgi import MAX_BODY_BYTES, BoundedAsgi, Message, Receive, Scope, Send
from tests.support.processes import PRODUCTION, python

PART = 1 << 20


class Application:
    """Reads the complete body, as Django does, and answers with its length."""

    read = 0

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        more = True
        while more:
            message = await receive()
            self.read += len(message.get("body", b""))
            more = message.get("more_body", False)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(self.read).encode()})


def asked(kind: str, messages: list[Message], headers: list[tuple[bytes, bytes]] | None = None) -> tuple[list[Message], int]:
    """Return what is sent, and how many bytes the application has read. In a thread: a browser test leaves an event loop in this one."""
    application, sent, left = Application(), list[Message](), iter(messages)

    async def receive() -> Message:
        return next(left)

    async def send(message: Message) -> None:
        sent.append(message)

    def run() -> None:
        asyncio.run(call())

    async def call() -> None:
        await BoundedAsgi(application)({"type": kind, "headers": headers or []}, receive, send)

    with ThreadPoolExecutor(max_workers=1) as thread:
        thread.submit(run).result()
    return sent, application.read


def parts(count: int) -> list[Message]:
    return [{"type": "http.request", "body": b"x" * PART, "more_body": number < count - 1} for number in range(count)]


def test_http__is_passed_on() -> None:
    sent, read = asked("http", parts(MAX_BODY_BYTES // PART), [(b"Content-Length", str(MAX_BODY_BYTES).encode())])
    assert (sent[0]["status"], sent[1]["body"], read) == (200, str(MAX_BODY_BYTES).encode(), MAX_BODY_BYTES)


@pytest.mark.at_length(every=9)
@pytest.mark.parametrize("length", [str(MAX_BODY_BYTES + 1), "9" * 5000, None])
def test_http__body_that_is_too_large_is_not_read_to_its_end(length: str | None, caplog: pytest.LogCaptureFixture) -> None:
    """With and without a Content-Length header."""
    headers = [] if length is None else [(b"content-length", length.encode())]
    with caplog.at_level(logging.WARNING):
        sent, read = asked("http", parts(1000), headers)
    assert sent[0]["status"] == 413 and len(sent) == 2
    assert read == (MAX_BODY_BYTES if length is None else 0)
    assert caplog.messages == ["The request was answered with 413: its body has more than 10485760 bytes."]


def test_websocket__is_closed_without_an_error() -> None:
    assert asked("websocket", [{"type": "websocket.connect"}]) == ([{"type": "websocket.close", "code": 1000}], 0)


def test_lifespan__is_answered() -> None:
    sent, _ = asked("lifespan", [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    assert sent == [{"type": "lifespan.startup.complete"}, {"type": "lifespan.shutdown.complete"}]


@pytest.mark.at_length
def test_asgi__is_bounded() -> None:
    show = "from findme.asgi import application; print(type(application).__name__)"
    settings: dict[str, Any] = PRODUCTION
    assert python("-W", "ignore:No directory at", "-c", show, **settings) == (0, "BoundedAsgi\n", "")
