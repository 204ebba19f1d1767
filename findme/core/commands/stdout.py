"""The standard output of a command: if a text cannot be written, a line on stderr reports it."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAME = "standard output"


def prepare_stdout() -> bool:
    """Replace standard output by one whose errors have a name.

    Return False, with a line on stderr, if it is closed.
    A closed standard output is not used, because the next file that is opened would get its descriptor. A closed stderr is replaced, so that
    errors can be printed.
    """
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115  # for as long as the process lives
    if sys.stdout is None:
        sys.stderr.write(f"The {NAME} is closed: nothing was done. To discard the output, add > {os.devnull}\n")
        return False
    if sys.stdout is sys.__stdout__ and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout = _Output(sys.stdout)
    return True


class _Output(io.TextIOWrapper):
    """An output whose errors have a file name, as for any other file.

    It also keeps the error in ``lost``, because some callers, such as argparse, ignore it. A reader that stopped reading (BrokenPipeError) is not
    an error of the file.
    """

    def __init__(self, out: io.TextIOWrapper) -> None:
        super().__init__(
            out.buffer,
            encoding=out.encoding,
            errors=out.errors,
            line_buffering=bool(out.line_buffering),
            write_through=bool(out.write_through),
        )
        self.lost: OSError | None = None

    def write(self, text: str, /) -> int:
        with self._named():
            return super().write(text)

    def flush(self) -> None:
        with self._named():
            super().flush()

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            self.lost = OSError(error.errno, error.strerror, NAME)
            raise self.lost from None


def flush_stdout() -> OSError | None:
    """Flush standard output. Return the error if a part of the output could not be written.

    After an error, the descriptor points to the null device: the interpreter flushes again when it exits, and would report the error again.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return error
    return sys.stdout.lost if isinstance(sys.stdout, _Output) else None
