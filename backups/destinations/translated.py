"""Files whose own errors are translated, so that the errors of the other end of a stream stay apart from them."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, BinaryIO, cast

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

BUFFER_BYTES = 1024 * 1024

Reached = Callable[[], AbstractContextManager[None]]


class _Reader(io.RawIOBase):
    def __init__(self, file: BinaryIO, reached: Reached) -> None:
        self._file = file
        self._reached = reached

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)
        with self._reached():
            content = self._file.read(view.nbytes)
            view[: len(content)] = content
            return len(content)


class _Writer(io.RawIOBase):
    def __init__(self, file: BinaryIO, reached: Reached) -> None:
        self._file = file
        self._reached = reached

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer) -> int:
        with self._reached():
            return self._file.write(data)


def translated_reader(file: BinaryIO, reached: Reached) -> BinaryIO:
    """Return a buffered reader of the file. Closing it does not close the file."""
    return io.BufferedReader(_Reader(file, reached), BUFFER_BYTES)


def translated_writer(file: BinaryIO, reached: Reached) -> BinaryIO:
    """Return an unbuffered writer to the file. Closing it does not close the file."""
    return cast("BinaryIO", _Writer(file, reached))
