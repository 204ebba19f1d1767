"""A server that implements enough of PostgreSQL's protocol to reject a connection."""

from __future__ import annotations

import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SSL_REQUEST = 80877103


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    answer: bytes


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        if self._packet() == SSL_REQUEST:
            self.wfile.write(b"N")  # no TLS
            self._packet()
        server = self.server
        assert isinstance(server, _Server)
        self.wfile.write(server.answer)

    def _packet(self) -> int:
        head = self.rfile.read(8)
        if len(head) < 8:
            return 0
        length, code = struct.unpack("!ii", head)
        self.rfile.read(length - 8)
        return int(code)


@contextmanager
def refusing_server(sqlstate: str = "", words: str = "", severity: str = "FATAL") -> Iterator[str]:
    """Reject every connection with this error, or close it without one. Yield the URL of the server."""
    fields = {"S": severity, "V": "FATAL", "C": sqlstate, "M": words}
    body = b"".join(f"{name}{value}\0".encode() for name, value in fields.items()) + b"\0"
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.answer = b"E" + struct.pack("!i", len(body) + 4) + body if sqlstate else b""
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield f"postgresql://ann:secret@127.0.0.1:{server.server_address[1]}/findme"
        finally:
            server.shutdown()
            thread.join()
