"""``manage.py`` in separate processes that start fast: they are forks of one process that has imported all modules.

As a module it is that process. Each line on standard input has a list of arguments and the file for the output. The process runs ``manage.py`` and
prints the exit code.
"""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

from findme.environment import BASE_DIR


class Commands:
    """Run one command at a time. ``environment`` names the stores."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self.output = folder / "output.txt"
        self.forker = subprocess.Popen(
            [sys.executable, "-m", __name__],
            cwd=BASE_DIR,
            env=os.environ | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: object) -> tuple[int, str]:
        """Return the exit code, and standard output and standard error together."""
        assert self.forker.stdin is not None and self.forker.stdout is not None
        print(json.dumps([list(map(str, arguments)), str(self.output)]), file=self.forker.stdin, flush=True)
        return int(self.forker.stdout.readline()), self.output.read_text()

    def end(self) -> None:
        with self.forker:  # waits for the process and closes its pipes
            assert self.forker.stdin is not None
            self.forker.stdin.close()


def _run(arguments: list[str], output: str) -> None:
    with Path(output).open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.argv = ["manage.py", *arguments]
    code: int | str | None = 70
    try:
        runpy.run_path(str(BASE_DIR / "manage.py"), run_name="__main__")
    except SystemExit as end:
        code = end.code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0 if code is None else 71)


def _fork_on_demand() -> None:
    import django

    django.setup()
    from vectorstore.ingest import load  # noqa: F401  # as the client of Qdrant, it takes long to import: once is enough

    for line in sys.stdin:
        arguments, output = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _run(arguments, output)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _fork_on_demand()
