"""Wait for what another process or thread does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

DEADLINE_SECONDS = 120.0
"""The longest wait of a test. It must be long: several runs share the machine."""

Result = TypeVar("Result")


def wait_until(
    condition: Callable[[], Result], what: str = "The condition", seconds: float = DEADLINE_SECONDS, poll_seconds: float = 0.02
) -> Result:
    """Poll ``condition`` and return its first true value. Fail the test after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} seconds."
        time.sleep(poll_seconds)
    return value
