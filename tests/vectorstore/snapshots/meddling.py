"""A proxy before a real Qdrant that spoils what passes: on a free loopback port, in a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

Meddle = Callable[[bytes, threading.Event], Iterator[bytes]]
"""What is sent of a snapshot's bytes, while the length that is told stays the true one; the event says that the proxy ends."""


def whole(content: bytes, stop: threading.Event) -> Iterator[bytes]:
    yield content


def half(content: bytes, stop: threading.Event) -> Iterator[bytes]:
    """And the connection ends."""
    yield content[: len(content) // 2]


def one_bit_wrong(content: bytes, stop: threading.Event) -> Iterator[bytes]:
    middle = len(content) // 2
    yield content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def half_and_silence(content: bytes, stop: threading.Event) -> Iterator[bytes]:
    yield content[: len(content) // 2]
    stop.wait(60)


@contextmanager
def meddling(url: str, meddle: Meddle, seen: list[tuple[str, str, dict[str, str]]] | None = None) -> Iterator[str]:
    """The URL of a proxy to URL, which MEDDLEs with every snapshot that is fetched, and notes in SEEN what was asked with which headers."""
    with _proxy(url, meddle, lambda _: False, [], seen) as proxy:
        yield proxy


@contextmanager
def silent_on(url: str, asked: Callable[[str], bool], reached: list[str]) -> Iterator[str]:
    """The URL of a proxy to URL that passes nothing on of what is ASKED for ("GET /collections"), never answers it, and notes in REACHED that it
    was."""
    with _proxy(url, whole, asked, reached, None) as proxy:
        yield proxy


@contextmanager
def _proxy(
    url: str, meddle: Meddle, silent: Callable[[str], bool], reached: list[str], seen: list[tuple[str, str, dict[str, str]]] | None
) -> Iterator[str]:
    stop = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if silent(f"{self.command} {self.path}"):
                reached.append(self.path)
                stop.wait(60)
                return
            headers = {name: value for name, value in self.headers.items() if name.lower() not in {"host", "content-length"}}
            if seen is not None:
                seen.append((self.command, self.path, {name.lower(): value for name, value in headers.items()}))
            answer = httpx.request(self.command, f"{url}{self.path}", headers=headers, content=body, timeout=60)
            fetched = self.command == "GET" and self.path.endswith(".snapshot")
            self.send_response(answer.status_code)
            self.send_header("Content-Type", answer.headers.get("Content-Type", "application/json"))
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            for piece in meddle(answer.content, stop) if fetched else [answer.content]:
                self.wfile.write(piece)
                self.wfile.flush()

        do_PUT = do_POST = do_DELETE = do_PATCH = do_GET  # noqa: N815  # the names that the parent calls

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the parent's name
            """Nothing on stderr."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """Nothing on stderr: a client that was killed is what is tried here."""

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
