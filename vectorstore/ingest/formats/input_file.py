"""Opening and reading an input: what goes wrong is one line."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from findme.core.errors import UserFacingError


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Errors of the operating system while NAME is read leave as UserFacingError."""
    try:
        yield
    except OSError as error:
        raise UserFacingError(f"{name!r} cannot be read: {error.strerror or error}") from error


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The file, open for reading bytes. Raises UserFacingError where it is missing, a directory, or may not be read."""
    with reading(str(path)), path.open("rb") as stream:
        yield stream


@contextmanager
def opened_file(path: Path) -> Iterator[BinaryIO]:
    """As ``opened``, for a format that is not read from its beginning to its end. Raises UserFacingError for a pipe, which would wait for a
    writer, and a device."""
    with reading(str(path)):
        mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise UserFacingError(
            f"{str(path)!r} is not an ordinary file, which its format needs: save it to one. JSON Lines may come by a pipe."
        )
    with opened(path) as stream:
        yield stream


@contextmanager
def opened_text(path: Path) -> Iterator[BinaryIO]:
    """As ``opened``, for a file or a pipe. Raises UserFacingError for a device, which may have no end."""
    with reading(str(path)):
        mode = path.stat().st_mode
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        raise UserFacingError(
            f"{str(path)!r} is a device, which may have no end: name an ordinary file or a pipe, or '-' for standard input."
        )
    with opened(path) as stream:
        yield stream


def no_rows(name: str) -> UserFacingError:
    """For an input without a single row: more often a job that failed before this one than a day without news."""
    return UserFacingError(f"{name!r} holds no row.")
