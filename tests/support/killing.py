"""End this process at a given call, for scripts of tests that run in a process of their own."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable
from typing import Any


def kill_at_call(functions: Iterable[tuple[Any, str]], nth: int) -> None:
    """Replace each function (its owner and its name) by one that kills the process at the ``nth`` call of any of them, counted from 0."""
    remaining = nth

    def killing(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal remaining
            if remaining == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            remaining -= 1
            return original(*arguments, **options)

        return call

    for owner, name in functions:
        setattr(owner, name, killing(getattr(owner, name)))
