"""What comes before Django under ASGI: it would read a body of any size, and raise an error for a WebSocket, which any stranger may ask for."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeAlias

logger = logging.getLogger(__name__)

LARGEST_BODY = 10 << 20
"""In bytes. Django itself refuses a form of more than 2.5 MB, when it has read it."""
MOST_DIGITS = 18
"""More would be a larger number all the same."""
TOO_LARGE = 413

Scope: TypeAlias = dict[str, Any]
Message: TypeAlias = Mapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


class _BodyTooLarge(Exception):
    pass


class BoundedAsgi:
    """Passes HTTP requests on to ``application``. Closes WebSockets, and answers 413 for a body above ``LARGEST_BODY``."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})
        elif scope["type"] == "lifespan":
            await _live(receive, send)
        else:
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        received = 0

        async def bounded() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > LARGEST_BODY:
                raise _BodyTooLarge
            return message

        if _declared_length(scope.get("headers", ())) > LARGEST_BODY:
            await _refuse(send)
            return
        try:
            await self._application(scope, bounded, send)
        except _BodyTooLarge:
            await _refuse(send)


async def _refuse(send: Send) -> None:
    logger.warning("The request was answered with %s: its body has more than %s bytes.", TOO_LARGE, LARGEST_BODY)
    headers = [(b"content-type", b"text/plain"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": TOO_LARGE, "headers": headers})
    await send({"type": "http.response.body", "body": b"The request is too large.\n"})


def _declared_length(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """Return 0 for none, and for what is no number: the server has checked it."""
    found = next((value for name, value in headers if name.lower() == b"content-length"), b"0")
    return int(found[:MOST_DIGITS]) if found.isdigit() else 0


async def _live(receive: Receive, send: Send) -> None:
    """Answer the server's start and end: nothing is to be done at either."""
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
