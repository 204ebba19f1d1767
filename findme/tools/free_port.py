"""``python -m findme.tools.free_port PORT`` prints PORT, or another port if that one is in use."""

from __future__ import annotations

import socket
import sys

from findme.core.program import NOT_DONE, exit_code

LOOPBACK = "127.0.0.1"
HIGHEST = 65535


def free_port(wanted: int) -> int:
    """Return ``wanted`` if a server can listen there on loopback; otherwise a free port chosen by the system."""
    for port in (wanted, 0):
        with socket.socket() as listener:
            # As the server does: a port that was closed a moment ago is free.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((LOOPBACK, port))
                listener.listen()
            except OSError:
                continue
            chosen: int = listener.getsockname()[1]
            return chosen
    raise AssertionError("the system has no free port")


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or not arguments[0].isdecimal() or int(arguments[0]) > HIGHEST:
        sys.stderr.write(f"PORT is {' '.join(arguments)!r}: it must be a whole number from 0 to {HIGHEST}.\n")
        return NOT_DONE
    sys.stdout.write(f"{free_port(int(arguments[0]))}\n")
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(sys.argv[1:])))
