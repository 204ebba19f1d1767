"""A proxy to a real Qdrant that alters snapshots or does not answer, on a free loopback port, in a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

Alter = Callable[[bytes, threading.Event], Iterator[bytes]]
"""Yield the bytes to send for a snapshot. The header keeps the true length. The event is set when the proxy stops."""


def whole(content: bytes, stop: threading.Event) -> Iterator[bytes]:
    yield content


def half(content: bytes, stop: threading.Event) -> Iterator[bytes]:
    """Then the connection ends."""
    yield content[: len(content) // 2]


def one_wrong_bit(content: bytes, stop: threading.Event) -> Iterator[bytes]:
    middle = len(content) // 2
    yield content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def half_then_silence(content: bytes, stop: threading.Event) -> Iterator[bytes]:
    yield content[: len(content) // 2]
    stop.wait(60)


@contextmanager
def altering_proxy(url: str, alter: Alter, requests: list[tuple[str, str, dict[str, str]]] | None = None) -> Iterator[str]:
    """Run a proxy to ``url`` that alters every downloaded snapshot, and yield its URL.

    Method, path and headers of each request are added to ``requests``.
    """
    with _proxy(url, alter, lambda _: False, [], requests) as proxy:
        yield proxy


@contextmanager
def silent_proxy(url: str, is_silent: Callable[[str], bool], reached: list[str]) -> Iterator[str]:
    """Run a proxy to ``url`` that never forwards or answers some requests, and yield its URL.

    ``is_silent`` gets the method and path, such as ``GET /collections``. The paths of these requests are added to ``reached``.
    """
    with _proxy(url, whole, is_silent, reached, None) as proxy:
        yield proxy


@contextmanager
def _proxy(
    url: str, alter: Alter, is_silent: Callable[[str], bool], reached: list[str], requests: list[tuple[str, str, dict[str, str]]] | None
) -> Iterator[str]:
    stop = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if is_silent(f"{self.command} {self.path}"):
                reached.append(self.path)
                stop.wait(60)
                return
            headers = {name: value for name, value in self.headers.items() if name.lower() not in {"host", "content-length"}}
            if requests is not None:
                requests.append((self.command, self.path, {name.lower(): value for name, value in headers.items()}))
            answer = httpx.request(self.command, f"{url}{self.path}", headers=headers, content=body, timeout=60)
            fetched = self.command == "GET" and self.path.endswith(".snapshot")
            self.send_response(answer.status_code)
            self.send_header("Content-Type", answer.headers.get("Content-Type", "application/json"))
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            for chunk in alter(answer.content, stop) if fetched else [answer.content]:
                self.wfile.write(chunk)
                self.wfile.flush()

        do_PUT = do_POST = do_DELETE = do_PATCH = do_GET  # noqa: N815  # the parent class calls these names

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name in the parent class
            """Print nothing on stderr."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """Print nothing on stderr: the tests kill clients on purpose."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        stop.set()
        server.shutdown()
        thread.join()
        server.server_close()
