"""``python -m findme.console.free_port PORT`` prints PORT, or another one where something listens there already."""

from __future__ import annotations

import socket
import sys

LOOPBACK = "127.0.0.1"


def free_port(wanted: int) -> int:
    """WANTED if a server may listen there, on loopback; otherwise one that the system gives."""
    for port in (wanted, 0):
        with socket.socket() as end:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does: a port that has just been given up is free
            try:
                end.bind((LOOPBACK, port))
                end.listen()
            except OSError:
                continue
            taken: int = end.getsockname()[1]
            return taken
    raise AssertionError("the system gives no port")


if __name__ == "__main__":
    sys.stdout.write(f"{free_port(int(sys.argv[1]))}\n")
