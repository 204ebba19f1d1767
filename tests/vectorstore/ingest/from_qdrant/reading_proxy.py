"""A proxy to a real Qdrant that forwards only requests that read."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

READS = re.compile(r"GET .*|POST /collections/[^/]+/points(/scroll|/count|/query)?(\?.*)?")


@contextmanager
def reading_proxy(url: str) -> Iterator[tuple[str, list[str]]]:
    """Run the proxy, and yield its URL and the list of refused requests."""
    refused: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if not READS.fullmatch(f"{self.command} {self.path}"):
                refused.append(f"{self.command} {self.path}")
                self._answer(403, b"{}")
                return
            headers = {name: value for name, value in self.headers.items() if name.lower() in ("api-key", "content-type")}
            answer = httpx.request(self.command, url + self.path, content=body, headers=headers, timeout=30, trust_env=False)
            self._answer(answer.status_code, answer.content)

        do_PUT = do_POST = do_DELETE = do_PATCH = do_GET  # noqa: N815  # names of the base class

        def _answer(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # name of the base class
            """Write nothing to stderr."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", refused
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
