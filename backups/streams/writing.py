"""Write all bytes, also to an unbuffered file, whose ``write`` can take a part of them."""

from __future__ import annotations

from typing import BinaryIO


def write_all(sink: BinaryIO, data: bytes) -> None:
    """Write ``data``. Raise BlockingIOError for a file that takes nothing."""
    rest = memoryview(data)
    while rest:
        written = sink.write(rest)
        if not written:
            raise BlockingIOError("The file takes no bytes.")
        rest = rest[written:]
