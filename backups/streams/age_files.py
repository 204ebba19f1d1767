"""The reader and the writer that age calls.

age (a program in Rust) replaces an exception of its reader or writer by one of its own, which has only the text. So both keep the exception, and
``original_errors`` raises it. They are generators, and age calls their ``send``: Python raises the KeyboardInterrupt of a signal at the beginning of
a function, where no ``try`` of that function sees it, but inside the ``try`` of a generator that continues.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager


class AgeReader:
    """A file from which age reads the pieces."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.error: BaseException | None = None
        self._steps = self._run(pieces)
        next(self._steps)
        self.read = self._steps.send

    def close(self) -> None:
        self._steps.close()

    def _run(self, pieces: Iterator[bytes]) -> Generator[bytes, int, None]:
        try:
            most = yield b""
            for piece in pieces:
                start = 0
                while start < len(piece):
                    part = piece[start : start + most]
                    start += len(part)
                    most = yield part
            while True:
                yield b""
        except GeneratorExit:
            raise
        except BaseException as error:
            self.error = error
            raise


class AgeWriter:
    """A file into which age writes. ``accept`` takes all of what it is given."""

    def __init__(self, accept: Callable[[bytes], None]) -> None:
        self.error: BaseException | None = None
        self._steps = self._run(accept)
        next(self._steps)
        self.write = self._steps.send

    def close(self) -> None:
        self._steps.close()

    def _run(self, accept: Callable[[bytes], None]) -> Generator[int, bytes, None]:
        written = 0
        try:
            while True:
                data = yield written
                accept(data)
                written = len(data)
        except GeneratorExit:
            raise
        except BaseException as error:
            self.error = error
            raise

    def flush(self) -> None:
        """Do nothing: the owner of the file flushes it."""


@contextmanager
def original_errors(reader: AgeReader, writer: AgeWriter) -> Iterator[None]:
    """Raise the exception of the reader or of the writer instead of the one that age makes of it. Close both at the end."""
    try:
        yield
    except BaseException as error:
        original = reader.error or writer.error
        if original is None or original is error:
            raise
        raise original from None
    finally:
        reader.close()
        writer.close()
