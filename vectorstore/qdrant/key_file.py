"""Read an API key from a file that no other account can read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from findme.core.errors import UserFacingError
from findme.core.folders import READABLE_BY_OTHERS

LONGEST = 4096
"""In bytes. A JSON web token of Qdrant has a few hundred."""


def read_key(path: Path) -> str:
    """Return the key without the line break at its end.

    Raise UserFacingError for an empty file, one that belongs to another account or that other accounts can read, and one that is no text. The
    message never has the key.
    """
    try:
        with path.open("rb") as file:
            _require_private(path, os.fstat(file.fileno()))
            content = file.read(LONGEST + 1)
    except OSError as error:
        raise UserFacingError(f"{str(path)!r} cannot be read: {error.strerror or error}. Name the file with the API key.") from error
    key = content.removesuffix(b"\n").removesuffix(b"\r")
    if not key or len(key) > LONGEST or not all(0x21 <= byte <= 0x7E for byte in key):
        raise UserFacingError(f"{str(path)!r} does not hold one line with an API key. Write only the key into it.")
    return key.decode()


def _require_private(path: Path, found: os.stat_result) -> None:
    """Raise UserFacingError unless only this account can read the file."""
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISFIFO(found.st_mode)):
        raise UserFacingError(f"{str(path)!r} is not a file: nothing was read. Name the file with the API key.")
    if found.st_uid not in (0, os.geteuid()):
        raise UserFacingError(f"{str(path)!r} belongs to another account: nothing was read. Copy the key to a file of your own.")
    if found.st_mode & READABLE_BY_OTHERS:
        raise UserFacingError(
            f"{str(path)!r} can be read by other accounts (mode {stat.S_IMODE(found.st_mode):04o}): nothing was read. Change its mode to 0600."
        )
