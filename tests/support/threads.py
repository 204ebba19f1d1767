"""Run a function in a thread with its own database connection."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Generic, TypeVar

from django.db import connections

from tests.support.waiting import DEADLINE_SECONDS, wait_until

Result = TypeVar("Result")


class Running(Generic[Result]):
    """A function that runs in a thread.

    As a context manager it waits for the end. It raises the function's error, unless the test has asked for it.
    """

    def __init__(self, function: Callable[[], Result]) -> None:
        self._function = function
        self._future: Future[Result] = Future()
        self._is_checked = False
        threading.Thread(target=self._run).start()

    def _run(self) -> None:
        try:
            try:
                result = self._function()
            finally:
                connections.close_all()
        except BaseException as error:  # noqa: BLE001  # it is raised in the thread that waits
            self._future.set_exception(error)
        else:
            self._future.set_result(result)

    def done(self) -> bool:
        return self._future.done()

    def result(self, seconds: float = DEADLINE_SECONDS) -> Result:
        """Wait for the end. Return the function's result, or raise its error."""
        self._is_checked = True
        return self._future.result(seconds)

    def exception(self) -> BaseException | None:
        self._is_checked = True
        return self._future.exception(DEADLINE_SECONDS)

    def __enter__(self) -> Running[Result]:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        raised = self._future.exception(DEADLINE_SECONDS)
        if raised is not None and error is None and not self._is_checked:
            raise raised


def in_thread(function: Callable[[], Result]) -> Running[Result]:
    """Start the function."""
    return Running(function)


@contextmanager
def held_in_thread(resource: AbstractContextManager[object]) -> Iterator[None]:
    """Let another thread hold the resource during the block."""
    held, may_leave = threading.Event(), threading.Event()

    def hold() -> None:
        with resource:
            held.set()
            assert may_leave.wait(DEADLINE_SECONDS)

    with in_thread(hold) as holder:
        try:
            wait_until(lambda: held.is_set() or holder.done(), "The resource is held")
            yield
        finally:
            may_leave.set()
