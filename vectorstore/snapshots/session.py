"""Work beside the session of PostgreSQL's that holds ``collection_lock``, which is kept meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

from vectorstore.catalog.lock import keep_session

Result = TypeVar("Result")

SLICE_SECONDS = 2.0
"""Between two signs of life."""


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
