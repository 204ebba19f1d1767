"""An HTTP server in front of a store's. It can be stopped, and it can change, delay or withhold answers."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from tests.qdrant import free_port

DRIP_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    content_type: str
    body: bytes
    drips: bool = False
    """Whether the body is sent byte by byte, each long before the caller's timeout."""


Forward: TypeAlias = Callable[[Request], Answer]
Rule: TypeAlias = Callable[[Request, Forward], Answer | None]
"""Return the answer to a request, or None to send none as long as the rule is in force."""


def pass_on(request: Request, forward: Forward) -> Answer:
    return forward(request)


def confirmed(result: object) -> Answer:
    """Return an answer as Qdrant gives it."""
    return Answer(200, "application/json", json.dumps({"result": result, "status": "ok", "time": 0.001}).encode())


class HttpProxy:
    """Requests go to ``upstream`` by the ``rule``. Each request has a connection of its own."""

    def __init__(self, upstream: str) -> None:
        parts = urlsplit(upstream)
        assert parts.hostname and parts.port
        self.upstream = (parts.hostname, parts.port)
        self.port = free_port()
        self.rule: Rule = pass_on
        self.rule_ended = threading.Event()
        self.server: ThreadingHTTPServer | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), _handler_of(self))
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}).start()

    def stop(self) -> None:
        """Close the port: nothing listens."""
        self.rule_ended.set()
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    @contextmanager
    def stopped(self) -> Iterator[None]:
        self.stop()
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def following(self, rule: Rule) -> Iterator[None]:
        self.rule, self.rule_ended = rule, threading.Event()
        try:
            yield
        finally:
            self.rule = pass_on
            self.rule_ended.set()

    def forward(self, request: Request) -> Answer:
        connection = HTTPConnection(*self.upstream, timeout=60)
        try:
            headers = {
                name: value for name, value in request.headers.items() if name.lower() not in {"host", "connection", "accept-encoding"}
            }
            connection.request(request.method, request.path, request.body, headers)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers.get("Content-Type", "application/json"), answer.read())
        finally:
            connection.close()


def _handler_of(proxy: HttpProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            ended = proxy.rule_ended
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = proxy.rule(Request(self.command, self.path, dict(self.headers), body), proxy.forward)
            if answer is None:
                ended.wait(60)
                return
            # The caller may have closed the connection.
            with suppress(OSError):
                self._send(answer, ended)

        do_PUT = do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815  # names of the base class

        def _send(self, answer: Answer, ended: threading.Event) -> None:
            head = f"HTTP/1.1 {answer.status} -\r\nContent-Type: {answer.content_type}\r\nContent-Length: {len(answer.body)}\r\nConnection: close\r\n\r\n"
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.wfile.write(head.encode())
            for part in (answer.body[at : at + 1] for at in range(len(answer.body))) if answer.drips else [answer.body]:
                self.wfile.write(part)
                if answer.drips and ended.wait(DRIP_SECONDS):
                    return

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # name of the base class
            """Write nothing to stderr."""

    return Handler
