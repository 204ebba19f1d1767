"""The process in which ``Apart`` calls functions, one after the other."""

from __future__ import annotations

import importlib
import json
import logging
import os
import queue
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from findme.core.errors import UserFacingError

PROGRESS_LINES = 100
"""At most so many lines of progress for each total, so that the pipe never slows the work."""


def main() -> None:
    """Read each job, call its function, and write its result or its error. The process ends when its standard input does.

    The arguments are modules to import at once, so that the first job does not wait for them.
    """
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints is no answer
    jobs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(jobs,), daemon=True).start()
    import django

    django.setup()
    for name in sys.argv[1:]:
        importlib.import_module(name)
    write = _Writer(answers)
    logger = logging.getLogger("findme")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(_Forwarded(write))
    while True:
        write(**_answer(jobs.get(), write))


def _answer(job: dict[str, Any], write: _Writer) -> dict[str, Any]:
    from findme.core.commands.explanations import explain_error
    from findme.core.errors import UserFacingError

    function = getattr(importlib.import_module(job["module"]), job["function"])
    try:
        return {"result": function(**job["arguments"], report=write.progress)}
    except UserFacingError as error:
        return {"error": str(error), "kind": _kind(error)}
    except Exception as error:
        if (line := explain_error(error)) is None:
            raise
        return {"error": line, "kind": "UserFacingError"}


def _kind(error: UserFacingError) -> str:
    """Return the nearest class that the caller knows. An error of another class loses its attributes, and keeps its text."""
    known = {"UserFacingError", "StoreUnavailable", "StoreUnusable"}
    return next(kind.__name__ for kind in type(error).__mro__ if kind.__name__ in known)


def _read(jobs: queue.SimpleQueue[dict[str, Any]]) -> None:
    try:
        for line in sys.stdin:
            jobs.put(json.loads(line))
    finally:  # also after half a line of a caller that was killed
        os.kill(os.getpid(), signal.SIGKILL)


class _Writer:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._reported = 0

    def __call__(self, **answer: Any) -> None:
        with self._lock:
            self._stream.write(json.dumps(answer) + "\n")
            self._stream.flush()

    def progress(self, done: int, total: int | None = None, /) -> None:
        part = done * PROGRESS_LINES // total if total else done
        if part != self._reported:
            self._reported = part
            self(done=done, total=total)


class _Forwarded(logging.Handler):
    def __init__(self, write: _Writer) -> None:
        super().__init__(logging.INFO)
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        self._write(log=record.name, level=record.levelno, message=record.getMessage())


if __name__ == "__main__":
    main()
