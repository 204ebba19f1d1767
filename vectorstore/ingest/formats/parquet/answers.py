"""The pipe from a process that may stop answering."""

from __future__ import annotations

import io
import select
from pathlib import Path
from typing import IO

from findme.core.errors import UserFacingError

SECONDS = 60
"""How long the process may be silent. It sends something after each batch of rows, also of rows that it skips: that takes milliseconds."""
WAITS_IN_A_SECOND = 2


class Answers(io.RawIOBase):
    """Reads an unbuffered pipe from the process that decodes ``path``.

    Raises UserFacingError if no byte has come for ``SECONDS``. Many short waits are counted, and not the time: while Ctrl-Z stops this
    process too, no wait ends.
    """

    def __init__(self, pipe: IO[bytes], path: Path) -> None:
        self._pipe, self._path = pipe, path
        self._poll = select.poll()
        self._poll.register(pipe, select.POLLIN)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Wait for bytes, and return how many were read: 0 at the end."""
        for _ in range(max(round(SECONDS * WAITS_IN_A_SECOND), 1)):
            if self._poll.poll(1000 / WAITS_IN_A_SECOND):
                found = self._pipe.read(len(buffer))
                buffer[: len(found)] = found
                return len(found)
        raise UserFacingError(
            f"The process that decodes {str(self._path)!r} was silent for {SECONDS:,} seconds, and was ended. Check that the disk of the file answers, then run it again."
        )
