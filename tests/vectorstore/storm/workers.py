"""Workers of ``sync_qdrant --watch`` that can be killed and frozen.

They start fast: a process that has imported everything forks them.

Run as a module, this is that process. For each line on standard input it forks a worker and prints the worker's process id.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from findme.environment import BASE_DIR

BATCH_SIZE = 5
"""Small, for many claims."""


class Workers:
    """The workers of a storm. Only one thread kills and freezes them."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        with log.open("wb") as file:
            self.forker = subprocess.Popen(
                [sys.executable, "-m", __name__],
                cwd=BASE_DIR,
                env=os.environ | environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
            )
        self.running: list[int] = []

    def spawn(self) -> None:
        assert self.forker.stdin is not None and self.forker.stdout is not None
        print("fork", file=self.forker.stdin, flush=True)
        self.running.append(int(self.forker.stdout.readline()))

    def kill(self, pid: int) -> None:
        self.running.remove(pid)
        os.kill(pid, signal.SIGKILL)

    def freeze(self, pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)

    def thaw(self, pid: int) -> None:
        os.kill(pid, signal.SIGCONT)

    def end(self) -> None:
        """Send SIGTERM as an operator does. The forking process kills the workers that do not end."""
        for pid in self.running:
            os.kill(pid, signal.SIGTERM)
        with self.forker:  # waits for the process and closes its pipes
            assert self.forker.stdin is not None
            self.forker.stdin.close()


def _work() -> None:
    from django.core.management import call_command

    call_command("sync_qdrant", "--watch", f"--batch-size={BATCH_SIZE}")


def _fork_on_demand() -> None:
    import django

    django.setup()
    from vectorstore.sync import watch  # noqa: F401  # importing the client takes most of a second: do it once

    children = []
    for _line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            os.dup2(2, 1)
            _work()
            os._exit(0)
        children.append(pid)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()
    _wait_for_children(children)


def _wait_for_children(children: list[int]) -> None:
    deadline = time.monotonic() + 20
    running = set(children)
    while running:
        for pid in list(running):
            if os.waitpid(pid, os.WNOHANG)[0]:
                running.remove(pid)
            elif time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


if __name__ == "__main__":
    _fork_on_demand()
