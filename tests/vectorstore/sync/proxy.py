"""A proxy in front of PostgreSQL for one process: closed at first, then opened, and frozen on request.

Other processes connect directly.
"""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

from django.db import connection

from tests.qdrant import free_port

POLL_SECONDS = 0.02


class PostgresProxy:
    def __init__(self) -> None:
        self.port = free_port()
        self.connected, self.frozen, self.over = threading.Event(), threading.Event(), threading.Event()
        self.thread: threading.Thread | None = None

    def url(self) -> str:
        parameters = connection.get_connection_params()
        user, password, name = (quote(str(parameters.get(key) or ""), safe="") for key in ("user", "password", "dbname"))
        return f"postgresql://{user}{f':{password}' if password else ''}@127.0.0.1:{self.port}/{name}"

    def open(self) -> None:
        listening = socket.create_server(("127.0.0.1", self.port))
        self.thread = threading.Thread(target=self._serve, args=[listening, _address()])
        self.thread.start()

    def close(self) -> None:
        self.over.set()
        if self.thread is not None:
            self.thread.join()

    def _serve(self, listening: socket.socket, address: tuple[str, int] | str) -> None:
        peers: dict[socket.socket, socket.socket] = {}
        with selectors.DefaultSelector() as ready, listening:
            ready.register(listening, selectors.EVENT_READ)
            while not self.over.is_set():
                if self.frozen.is_set():
                    self.over.wait(POLL_SECONDS)
                    continue
                for key, _events in ready.select(POLL_SECONDS):
                    ready_socket = key.fileobj
                    assert isinstance(ready_socket, socket.socket)
                    if ready_socket is listening:
                        caller, server = listening.accept()[0], _connected(address)
                        peers |= {caller: server, server: caller}
                        self.connected.set()
                        ready.register(caller, selectors.EVENT_READ)
                        ready.register(server, selectors.EVENT_READ)
                    elif ready_socket in peers and not _forward(ready_socket, peers[ready_socket]):
                        for end in (ready_socket, peers[ready_socket]):
                            ready.unregister(end)
                            del peers[end]
                            end.close()
            for end in peers:
                end.close()


def _forward(source: socket.socket, target: socket.socket) -> bool:
    """Forward what has arrived. Return False if one side has closed the connection."""
    try:
        content = source.recv(65_536)
        target.sendall(content)
    except OSError:
        return False
    return bool(content)


def _address() -> tuple[str, int] | str:
    parameters = connection.get_connection_params()
    host, port = str(parameters.get("host") or "127.0.0.1"), int(parameters.get("port") or 5432)
    return f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port)


def _connected(address: tuple[str, int] | str) -> socket.socket:
    server = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    server.connect(address)
    return server


@contextmanager
def postgres_proxy() -> Iterator[PostgresProxy]:
    opened = PostgresProxy()
    try:
        yield opened
    finally:
        opened.close()
