"""Stubs of servers at loopback ports: they are no Qdrant, or a Qdrant that fails."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc

TLS_FOLDER = Path(__file__).parent / "tls"
"""A self-signed certificate for 127.0.0.1 and localhost. Its key is not secret."""

HTML = "<html><body>Welcome to nginx!</body></html>"


def root(version: str) -> dict[str, str]:
    """Return what Qdrant answers to ``GET /``."""
    return {"title": "qdrant - vector search engine", "version": version, "commit": "0"}


def error(words: str) -> dict[str, Any]:
    """Return the body of an error of Qdrant."""
    return {"status": {"error": words}, "time": 0.1}


@contextmanager
def answering(
    status: int, body: object, *, version: str | None = "1.19.0", tls: bool = False, port: int = 0, **headers: str
) -> Iterator[int]:
    """Start a server that answers every request with ``body``, as JSON unless it is a string. Return its port.

    It answers ``GET /`` as Qdrant does, unless ``version`` is None.
    """
    content = body if isinstance(body, str) else json.dumps(body)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(*((200, json.dumps(root(version))) if self.path == "/" and version else (status, content)))

        do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815  # names of the base class

        def _answer(self, status: int, text: str) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # name of the base class
            """Write nothing to stderr."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """Write nothing to stderr: tests connect with TLS, or without it, on purpose."""

    server = Server(("127.0.0.1", port), Handler)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(TLS_FOLDER / "cert.pem", TLS_FOLDER / "key.pem")
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def silent() -> Iterator[int]:
    """Start a server that accepts connections and never answers, as a frozen one. Return its port."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=64)) as listening:
        yield listening.getsockname()[1]


@contextmanager
def saying(words: bytes) -> Iterator[int]:
    """Start a server that sends ``words`` to each client and closes the connection. Return its port."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=64)) as listening:
        stop = threading.Event()

        def serve() -> None:
            listening.settimeout(0.02)
            while not stop.is_set():
                try:
                    caller = listening.accept()[0]
                except TimeoutError:
                    continue
                with caller:
                    caller.sendall(words)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            stop.set()
            thread.join()


@contextmanager
def answering_grpc(code: Any, words: str) -> Iterator[int]:
    """Start a gRPC server that answers every call with an error. Return its port."""

    class Refusing(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
        def service(self, handler_call_details: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(lambda _request, context: context.abort(code, words))

    server = grpc.server(ThreadPoolExecutor(2), handlers=[Refusing()])
    port: int = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()
