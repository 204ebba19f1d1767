"""The standard output of a command: what is printed arrives, or a line on stderr says that it did not."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAME = "standard output"


def opened() -> bool:
    """Make standard output one whose errors have a name, and errors printable. False, and said, where it is closed: the next file that is opened
    would take its place."""
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115  # for as long as the process lives
    if sys.stdout is None:
        sys.stderr.write(f"The {NAME} is closed, and nothing was done: where nobody is to read it, use > {os.devnull}\n")
        return False
    if sys.stdout is sys.__stdout__ and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout = _Output(sys.stdout)
    return True


class _Output(io.TextIOWrapper):
    """The output OUT, which says of an error where it was, as for any other file, and remembers it: argparse, for one, passes over it in silence.
    That nobody reads on is no error of the file's."""

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


def arrived() -> OSError | None:
    """Send what is still here. The error, if not all of it could be sent; the interpreter, which tries again at its end, then has nowhere to
    complain."""
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return error
    return sys.stdout.lost if isinstance(sys.stdout, _Output) else None
