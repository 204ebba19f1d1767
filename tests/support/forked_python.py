"""Processes of Python that start fast: forks of ``tests.support.fork_server``. A test uses them as every other process: they are its children."""

from __future__ import annotations

import atexit
import ctypes
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SERVER = Path(__file__).with_name("fork_server.py")
READ_AT_START = ("PYTHON", "LANG", "LC_", "LD_", "MALLOC_", "OPENBLAS_", "OMP_", "FSSPEC_", "HOME", "XDG_")
"""How the names of variables begin that the interpreter or a library reads when it starts. A server forks for one set of their values."""
TRACED = "COVERAGE_"
SUBREAPER = 36
"""The option of ``prctl`` by which this process gets the forks whose parent has ended."""

_servers: dict[tuple[tuple[str, str], ...], ForkServer] = {}
_one_at_a_time = threading.Lock()


def can_fork(environment: Mapping[str, str]) -> bool:
    """Return whether a fork does the same as a new interpreter. Coverage must begin with the interpreter."""
    return sys.platform == "linux" and not any(name.startswith((TRACED, "LD_PRELOAD")) for name in environment)


class ForkServer:
    def __init__(self, read_at_start: Mapping[str, str]) -> None:
        self.requests, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with there:
            # Pipes, as a test gives its processes: Python looks at them when it starts.
            command = [sys.executable, str(SERVER), str(there.fileno())]
            pipe = subprocess.PIPE
            self.process = subprocess.Popen(
                command, env=dict(read_at_start), pass_fds=[there.fileno()], stdin=pipe, stdout=pipe, stderr=pipe, text=True
            )

    def fork(self, request: Mapping[str, Any], descriptors: Sequence[int]) -> int:
        """Start the process with these descriptors as stdin, stdout and stderr. Return its id."""
        libc, pid = ctypes.CDLL(None), b""
        libc.prctl(SUBREAPER, 1, 0, 0, 0)
        try:
            socket.send_fds(self.requests, [json.dumps(request).encode()], descriptors)
            pid = self.requests.recv(64)
            self.requests.recv(64)  # the parent of the process has ended
        except ConnectionError:
            pass  # the server has failed
        finally:
            libc.prctl(SUBREAPER, 0, 0, 0, 0)
        assert pid, self.end()
        return int(pid)

    def end(self) -> str:
        """Stop the server, and return what it wrote to stderr."""
        self.requests.close()
        return self.process.communicate()[1]


class ForkedPython(subprocess.Popen[str]):
    """``subprocess.Popen`` for ``python ARGUMENTS`` without the start of an interpreter."""

    def _execute_child(self, args: Sequence[str], *others: Any) -> None:
        """Replace what starts the process. Python 3.11 to 3.14 give the same arguments."""
        _, _, _, _, cwd, env, _, _, _, p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite = others[:15]
        request = {"arguments": args[1:], "cwd": str(cwd), "environment": dict(env)}
        descriptors = [own if given == -1 else given for own, given in enumerate((p2cread, c2pwrite, errwrite))]
        with _one_at_a_time:
            self.pid = _server_for(env).fork(request, descriptors)
        self._child_created = True
        self._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)  # type: ignore[attr-defined]


def _server_for(environment: Mapping[str, str]) -> ForkServer:
    read = {name: value for name, value in environment.items() if name.startswith(READ_AT_START)}
    key = tuple(sorted(read.items()))
    if key not in _servers:
        _servers[key] = ForkServer(read)
        atexit.register(_servers[key].end)
    return _servers[key]
