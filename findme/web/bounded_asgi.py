"""Limit ASGI requests before they reach Django.

Django would read a body of any size, and would raise an error for a WebSocket, which any client can request.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeAlias

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 10 << 20
"""In bytes. Django itself rejects a form of more than 2.5 MB, but only after reading it."""
MOST_DIGITS = 18
"""Digits of a content length that are read. A number with more digits is too large in any case."""
TOO_LARGE = 413

Scope: TypeAlias = dict[str, Any]
Message: TypeAlias = Mapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


class _BodyTooLarge(Exception):
    pass


class BoundedAsgi:
    """Passes HTTP requests to ``application``. Closes WebSockets, and answers 413 for a body larger than ``MAX_BODY_BYTES``."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})
        elif scope["type"] == "lifespan":
            await _answer_lifespan(receive, send)
        else:
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        received = 0

        async def bounded() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > MAX_BODY_BYTES:
                raise _BodyTooLarge
            return message

        if _declared_length(scope.get("headers", ())) > MAX_BODY_BYTES:
            await _refuse(send)
            return
        try:
            await self._application(scope, bounded, send)
        except _BodyTooLarge:
            await _refuse(send)


async def _refuse(send: Send) -> None:
    logger.warning("The request was answered with %s: its body has more than %s bytes.", TOO_LARGE, MAX_BODY_BYTES)
    headers = [(b"content-type", b"text/plain"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": TOO_LARGE, "headers": headers})
    await send({"type": "http.response.body", "body": b"The request is too large.\n"})


def _declared_length(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """Return the content length; 0 if it is missing or not a number, which the server has already checked."""
    found = next((value for name, value in headers if name.lower() == b"content-length"), b"0")
    return int(found[:MOST_DIGITS]) if found.isdigit() else 0


async def _answer_lifespan(receive: Receive, send: Send) -> None:
    """Acknowledge the server's startup and shutdown. Neither needs any work."""
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
