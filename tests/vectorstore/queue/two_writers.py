"""Two writers in plain sessions, one of which waits for the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from tests.support.database import Database
from tests.support.threads import in_thread
from tests.support.waiting import wait_until


def first_writer(made: Database) -> psycopg.Connection[Any]:
    """Open a session that is never chosen as the victim of a deadlock."""
    session = made.connect()
    session.execute("SET deadlock_timeout = '100s'")
    return session


@contextmanager
def second_writer(made: Database, write: Callable[[psycopg.Connection[Any]], object]) -> Iterator[list[psycopg.Error]]:
    """Run ``write`` in a second session and thread. Return a list that receives its error.

    It has ended, or waits for a lock, before the block runs.
    """
    errors: list[psycopg.Error] = []

    def run() -> None:
        with made.connect() as session:
            try:
                write(session)
            except psycopg.Error as error:
                errors.append(error)

    with in_thread(run) as writer:
        wait_until(lambda: writer.done() or made.waits_for_a_lock())
        yield errors
