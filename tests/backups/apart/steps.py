"""Functions for a process apart."""

from __future__ import annotations

import logging
import os
import signal
import threading
from pathlib import Path
from typing import Any, NoReturn

from django.conf import settings
from django.db import connection

from findme.core import errors
from findme.core.commands.progress import Report


def where(word: str, report: Report) -> dict[str, Any]:
    report(1, 2)
    report(2, 2)
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_database()")
        return {"database": cursor.fetchone()[0], "collection": settings.QDRANT_COLLECTION, "word": word}


def log(report: Report) -> dict[str, Any]:
    logging.getLogger("findme.backups").info("%s done.", "100 %")
    logging.getLogger("findme.backups").debug("not shown")
    return {}


def fail(kind: str, report: Report) -> NoReturn:
    raise getattr(errors, kind)("No such thing: 'x'. Name another.")


def fail_in_postgresql(report: Report) -> NoReturn:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM no_such_table")
    raise AssertionError


def divide(report: Report) -> NoReturn:
    raise AssertionError(1 // 0)


def kill_itself(report: Report) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def own_command(report: Report) -> dict[str, Any]:
    return {"command": Path("/proc/self/cmdline").read_text(), "password": settings.DATABASES["default"]["PASSWORD"]}


def own_pid(report: Report) -> dict[str, Any]:
    return {"pid": os.getpid()}


def wait(path: str, report: Report) -> NoReturn:
    """Write the process id to the file ``path``, whole, then wait for ever."""
    Path(f"{path}.part").write_text(str(os.getpid()))
    Path(f"{path}.part").rename(path)
    threading.Event().wait()
    raise AssertionError
