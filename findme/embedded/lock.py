"""One command at a time starts or stops the server of a folder."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from findme.core.errors import UserFacingError
from findme.core.file_lock import lock_file

DEADLINE_SECONDS = 120.0


def locked(path: Path, deadline_seconds: float = DEADLINE_SECONDS) -> AbstractContextManager[int]:
    """Hold the lock file ``path`` and yield its descriptor, for a child process that holds the lock until it ends.

    Raises UserFacingError at the deadline.
    """
    return lock_file(
        path,
        deadline_seconds,
        lambda: UserFacingError(
            f"Another command has been starting or stopping PostgreSQL in {path.parent} for {deadline_seconds:.0f} s. End it, or try again later."
        ),
    )
