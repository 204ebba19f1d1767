"""Write one file of a backup: compressed, encrypted if there are recipients, and hashed."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import BinaryIO, cast

from backups.destinations.destination import Destination
from backups.manifest import File
from backups.streams.keys import Recipient
from backups.streams.store import store
from findme.core.commands.progress import Report, ignore_progress


def write_file(
    destination: Destination, backup: str, name: str, source: BinaryIO, recipients: Sequence[Recipient], report: Report = ignore_progress
) -> File:
    """Write the whole ``source`` to the file ``name`` of the backup, with the suffix ``.zst``, and ``.age`` if it is encrypted.

    ``report`` receives how many bytes were read. Raise UserFacingError and StoreUnavailable, and errors of the source. Then the file is not there.
    """
    file = f"{name}.zst.age" if recipients else f"{name}.zst"
    with destination.write(backup, file) as sink:
        stored = store(cast("BinaryIO", _CountingReader(source, report)), sink, recipients)
    return File(name=file, size=stored.size, sha256=stored.sha256, plain_size=stored.plain_size, plain_sha256=stored.plain_sha256)


class _CountingReader:
    def __init__(self, source: BinaryIO, report: Report) -> None:
        self.source, self.report, self.done = source, report, 0

    def read(self, size: int = -1) -> bytes:
        data = self.source.read(size)
        self.done += len(data)
        self.report(self.done)
        return data


class PiecesReader(io.RawIOBase):
    """A file that consists of pieces of any size."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._rest = pieces, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # io calls it with a memoryview
        while not self._rest:
            if (piece := next(self._pieces, None)) is None:
                return 0
            self._rest = piece
        part = self._rest[: len(buffer)]
        buffer[: len(part)] = part
        self._rest = self._rest[len(part) :]
        return len(part)
