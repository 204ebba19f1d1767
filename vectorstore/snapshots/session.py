"""The session of PostgreSQL's that holds ``collection_lock`` while Qdrant is at work for long: it is not to end for having nothing to do, and if it has,
that is noticed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

from django.db import connection

Result = TypeVar("Result")

SLICE_SECONDS = 2.0
"""Between two signs of life."""


def keep_session() -> None:
    """Raises OperationalError where it has ended, and the lock with it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT")


def beside_session(work: Callable[[], Result]) -> Result:
    """What WORK gives or raises, which needs no database, in a thread of its own. Whoever ends the process need not wait for it."""
    done: Future[Result] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001  # whatever it is, it is raised to whoever asked
            done.set_exception(error)

    threading.Thread(target=run, name="beside the session", daemon=True).start()
    while not wait([done], timeout=SLICE_SECONDS).done:
        keep_session()
    return done.result()
