"""A Qdrant server that can be frozen, killed, and restarted on the same ports with the same folder."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.qdrant import QdrantServer, launch, own_settings, program, ready, server_of, stop


class Server:
    def __init__(self, folder: Path) -> None:
        path = program()
        if path is None:
            pytest.skip("a storm starts its own server, and there is no program qdrant")
        self.path, self.folder = path, folder
        self.names = own_settings(folder)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> QdrantServer:
        return server_of(self.names, None)

    def start(self) -> None:
        for _ in range(5):
            self.process = launch(self.folder, self.names, self.path)
            if ready(self.process, self.names):
                return
        raise AssertionError(f"qdrant does not start:\n{(self.folder / 'qdrant.log').read_text()[-2000:]}")

    def freeze(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGCONT)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None:
            stop(self.process)
