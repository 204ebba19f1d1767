"""One command at a time starts or stops the server of a folder."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from findme.core.errors import UserFacingError

DEADLINE_SECONDS = 120.0


@contextmanager
def locked(path: Path, deadline_seconds: float = DEADLINE_SECONDS) -> Iterator[int]:
    """Hold the lock file PATH, and give its descriptor: a child that inherits it holds the lock until it ends, also when this process is killed.

    The kernel lets go of it with the last process that has it open, so a crash leaves nothing to clean up. Raises UserFacingError at the
    deadline.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        _take(descriptor, path, time.monotonic() + deadline_seconds, deadline_seconds)
        yield descriptor
    finally:
        os.close(descriptor)


def _take(descriptor: int, path: Path, deadline: float, seconds: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise UserFacingError(
                    f"Another command has been starting or stopping PostgreSQL in {path.parent} for {seconds:.0f} s: see to it, or try again."
                ) from None
            time.sleep(0.02)
        else:
            return
