"""Open and read an input file. Errors become one-line messages."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from findme.core.errors import UserFacingError


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Convert an OSError in the block to a UserFacingError about the input ``name``."""
    try:
        yield
    except OSError as error:
        raise UserFacingError(f"{name!r} cannot be read: {error.strerror or error}") from error


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open the file for reading bytes. Raises UserFacingError if it is missing, a directory, or not readable."""
    with reading(str(path)), path.open("rb") as stream:
        yield stream


@contextmanager
def opened_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file of a format that needs random access.

    Raises UserFacingError as ``opened`` does, and for a device and a pipe. Opening a pipe would wait for a writer.
    """
    with reading(str(path)):
        mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise UserFacingError(
            f"{str(path)!r} is not an ordinary file, which its format needs. Save it to a file. Only JSON Lines can be read from a pipe."
        )
    with opened(path) as stream:
        yield stream


@contextmanager
def opened_text(path: Path) -> Iterator[BinaryIO]:
    """Open a file or a pipe. Raises UserFacingError as ``opened`` does, and for a device, which may have no end."""
    with reading(str(path)):
        mode = path.stat().st_mode
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        raise UserFacingError(
            f"{str(path)!r} is a device, which may have no end. Name an ordinary file or a pipe, or '-' for standard input."
        )
    with opened(path) as stream:
        yield stream


def no_rows(name: str) -> UserFacingError:
    """Return the error for an input without rows. Usually the job that should have written it has failed."""
    return UserFacingError(f"{name!r} contains no rows. Check the job that writes it.")
