"""Read the pipe of the decoder process with a timeout."""

from __future__ import annotations

import io
import select
from pathlib import Path
from typing import IO

from findme.core.errors import UserFacingError

SECONDS = 60
"""Timeout for the next bytes. The process sends a frame after each batch, also for skipped rows, which takes milliseconds."""
WAITS_PER_SECOND = 2


class Answers(io.RawIOBase):
    """Unbuffered pipe from the process that decodes ``path``.

    Raises UserFacingError if no byte arrives for ``SECONDS``. It counts many short waits instead of measuring the time: while Ctrl-Z stops both
    processes, no wait ends.
    """

    def __init__(self, pipe: IO[bytes], path: Path) -> None:
        self._pipe, self._path = pipe, path
        self._poll = select.poll()
        self._poll.register(pipe, select.POLLIN)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Wait for bytes and return how many were read, 0 at the end."""
        for _ in range(max(round(SECONDS * WAITS_PER_SECOND), 1)):
            if self._poll.poll(1000 / WAITS_PER_SECOND):
                found = self._pipe.read(len(buffer))
                buffer[: len(found)] = found
                return len(found)
        raise UserFacingError(
            f"The process that decodes {str(self._path)!r} sent nothing for {SECONDS:,} seconds and was ended. Check the disk of the file, then run the"
            " command again."
        )
