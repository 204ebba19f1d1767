"""Threads that work on the database beside a test, and leave no connection behind."""

from __future__ import annotations

import threading
from collections.abc import Callable

from django.db import connection


def in_thread(work: Callable[[], object]) -> threading.Thread:
    """A thread, already running, that does WORK on a connection of its own."""

    def with_a_connection_of_its_own() -> None:
        try:
            work()
        finally:
            connection.close()

    thread = threading.Thread(target=with_a_connection_of_its_own)
    thread.start()
    return thread
