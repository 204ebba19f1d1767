"""File locks between processes (``flock``).

The kernel releases a lock when the last process that has the file open ends, so a crash leaves no lock.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from findme.core.errors import UserFacingError
from findme.core.waiting import wait_until

POLL_SECONDS = 0.02


@contextmanager
def lock_file(path: Path, seconds: float, busy: Callable[[], UserFacingError]) -> Iterator[int]:
    """Hold the lock on the file ``path`` and yield its file descriptor.

    A missing file is created with mode 0600. A child process that inherits the descriptor holds the lock until it ends, even if this process is
    killed. Waits up to ``seconds`` for another process, then raises the error that ``busy`` returns. Raises OSError.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if not wait_until(lambda: _try_lock(descriptor), seconds, poll_seconds=POLL_SECONDS):
            raise busy()
        yield descriptor
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
