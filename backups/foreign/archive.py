"""The header of a dump in the custom format. It says which ``pg_restore`` is new enough."""

from __future__ import annotations

import re
from dataclasses import dataclass

from findme.core.errors import UserFacingError

MAGIC = b"PGDMP"
CUSTOM = 1
"""The number of the custom format."""
WITH_ALGORITHM = (1, 15)
"""The version of the archive since which the compression is one byte."""
TIMES = 7
"""How many numbers the time of the dump has."""
LONGEST_TEXT = 1024
VERSION = re.compile(rb"(\d+)")


@dataclass(frozen=True, slots=True)
class Header:
    """``dump_version`` is that of the ``pg_dump`` that made it, such as ``18.6``."""

    dump_version: str
    dump_major: int


def read_header(first: bytes, name: str) -> Header:
    """Return the header of the dump that begins with ``first``. Raise UserFacingError for a damaged one, or another format."""
    reader = _Reader(first)
    try:
        reader.take(len(MAGIC))
        version = (reader.byte(), reader.byte())
        reader.byte()  # the revision
        reader.size_of_int = reader.byte()
        reader.byte()  # the size of an offset
        is_custom = reader.byte() == CUSTOM
        reader.byte() if version >= WITH_ALGORITHM else reader.integer()
        for _ in range(TIMES):
            reader.integer()
        reader.text()  # the name of the database
        reader.text()  # the version of its server
        dump_version = reader.text()
    except (IndexError, ValueError):
        raise UserFacingError(f"{name!r} is damaged: the header of the dump cannot be read. Use another copy of it.") from None
    found = VERSION.match(dump_version)
    if not is_custom or found is None:
        raise UserFacingError(
            f"{name!r} is a dump in an unknown format: nothing was restored. Dump the database again with pg_dump --format=custom."
        )
    return Header(dump_version.decode("ascii", "replace"), int(found[1]))


class _Reader:
    def __init__(self, content: bytes) -> None:
        self._content = content
        self._position = 0
        self.size_of_int = 4

    def take(self, size: int) -> bytes:
        end = self._position + size
        if end > len(self._content):
            raise IndexError(end)
        found = self._content[self._position : end]
        self._position = end
        return found

    def byte(self) -> int:
        return self.take(1)[0]

    def integer(self) -> int:
        """Return a number: a byte for the sign, then the bytes from the lowest one."""
        sign = self.byte()
        value = int.from_bytes(self.take(self.size_of_int), "little")
        return -value if sign else value

    def text(self) -> bytes:
        size = self.integer()
        if size > LONGEST_TEXT:
            raise ValueError(size)
        return self.take(size) if size > 0 else b""
