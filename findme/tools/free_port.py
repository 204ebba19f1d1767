"""``python -m findme.tools.free_port PORT`` prints PORT, or another one where something listens there already."""

from __future__ import annotations

import socket
import sys

from findme.core.program import NOT_DONE, exit_code

LOOPBACK = "127.0.0.1"
HIGHEST = 65535


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


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or not arguments[0].isdecimal() or int(arguments[0]) > HIGHEST:
        sys.stderr.write(f"PORT is {' '.join(arguments)!r}: it must be a whole number from 0 to {HIGHEST}.\n")
        return NOT_DONE
    sys.stdout.write(f"{free_port(int(arguments[0]))}\n")
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(sys.argv[1:])))
