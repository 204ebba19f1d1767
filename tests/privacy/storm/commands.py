"""``manage.py`` in processes of its own, which cost little to start: forked from one that has imported everything.

Run as a module it is that process: for each line on standard input, a list of arguments and the file of the output, it runs ``manage.py`` and says its exit code.
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
    """One command at a time. ``environment`` says which stores they use."""

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
        with self.forker:  # waits, and closes its pipes
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
