"""The size and the checksum of a file of a backup, and of what it holds."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

CHUNK_BYTES = 128 * 1024
"""How much is read at once. It is the size of zstd's blocks."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """``size`` and ``sha256`` are those of the file, ``plain_size`` and ``plain_sha256`` those before compression and encryption."""

    size: int
    sha256: str
    plain_size: int
    plain_sha256: str


class Measure:
    """The size and SHA-256 of the bytes that have passed."""

    def __init__(self) -> None:
        self.size = 0
        self._hash = hashlib.sha256()

    def add(self, data: bytes) -> None:
        self.size += len(data)
        self._hash.update(data)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


def stored_file(file: Measure, plain: Measure) -> StoredFile:
    return StoredFile(file.size, file.sha256, plain.size, plain.sha256)
