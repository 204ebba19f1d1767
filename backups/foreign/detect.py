"""What a file is, by its content and not by its name."""

from __future__ import annotations

import gzip
import os
import stat
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, cast

from backups.foreign.archive import MAGIC, read_header
from findme.core.errors import UserFacingError

FIRST_BYTES = 64 * 1024
GZIP = b"\x1f\x8b"
TAR_MAGIC = slice(257, 262)
AGE = (b"age-encryption.org/", b"-----BEGIN AGE ENCRYPTED FILE-----")
COMPRESSED = {
    b"\x28\xb5\x2f\xfd": ("zstd", "zstd --decompress"),
    b"BZh": ("bzip2", "bunzip2"),
    b"\xfd7zXZ\x00": ("xz", "unxz"),
    b"\x04\x22\x4d\x18": ("lz4", "lz4 --decompress"),
    b"PK\x03\x04": ("zip", "unzip"),
}
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
SNAPSHOT_FILE = "config.json"
TOC = "toc.dat"
"""The table of contents in a dump of ``pg_dump`` as a folder, or as a tar file."""


class Kind(StrEnum):
    PLAIN = "plain SQL"
    CUSTOM = "custom format"
    SNAPSHOT = "Qdrant snapshot"


@dataclass(frozen=True, slots=True)
class DumpFile:
    """``dump_major`` is the major version of the ``pg_dump`` that made a dump in the custom format, otherwise 0."""

    path: Path
    kind: Kind
    is_gzip: bool = False
    dump_major: int = 0


def detect(path: Path) -> DumpFile:
    """Return what the file is. Raise UserFacingError for what cannot be restored."""
    if path.is_dir():
        raise _folder(path)
    with opened(path, is_gzip=False) as file:
        first = file.read(FIRST_BYTES)
    is_gzip = first.startswith(GZIP)
    if is_gzip:
        with opened(path, is_gzip=True) as file:
            first = file.read(FIRST_BYTES)
    if not first:
        raise UserFacingError(f"{str(path)!r} is empty: nothing was restored. Name a dump of pg_dump.")
    if first.startswith(MAGIC):
        return DumpFile(path, Kind.CUSTOM, is_gzip, read_header(first, str(path)).dump_major)
    if first[TAR_MAGIC] == b"ustar":
        return _tar(path, is_gzip=is_gzip)
    _refuse(path, first)
    return DumpFile(path, Kind.PLAIN, is_gzip)


class Content:
    """The content of the file, decompressed if it is compressed. ``read`` raises UserFacingError for a damaged file."""

    def __init__(self, file: BinaryIO, path: Path, *, is_gzip: bool) -> None:
        self._file = file
        self._path = path
        self._content = cast("BinaryIO", gzip.GzipFile(fileobj=file)) if is_gzip else file

    def read(self, size: int) -> bytes:
        try:
            return self._content.read(size)
        except (EOFError, gzip.BadGzipFile, zlib.error):
            raise UserFacingError(
                f"{str(self._path)!r} is damaged: it cannot be decompressed to its end. Use another copy of it."
            ) from None
        except OSError as error:
            raise _unreadable(self._path, error) from error

    @property
    def position(self) -> int:
        """How many bytes of the file on the disk were read."""
        return self._file.tell()


@contextmanager
def opened(path: Path, *, is_gzip: bool) -> Iterator[Content]:
    """Open an ordinary file. Raise UserFacingError if it cannot be opened."""
    try:
        # A pipe would block the process.
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    except OSError as error:
        raise _unreadable(path, error) from error
    with file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise UserFacingError(f"{str(path)!r} is no ordinary file: nothing was restored. Save the dump in a file, and name that.")
        yield Content(file, path, is_gzip=is_gzip)


def _unreadable(path: Path, error: OSError) -> UserFacingError:
    reason = error.strerror or type(error).__name__
    return UserFacingError(f"{str(path)!r} cannot be read ({reason}): nothing was restored. Name a file that this account can read.")


def _refuse(path: Path, first: bytes) -> None:
    if first.startswith(AGE):
        raise UserFacingError(
            f"{str(path)!r} is encrypted by age: nothing was restored. Decrypt it with age --decrypt, and name the result."
        )
    for magic, (name, command) in COMPRESSED.items():
        if first.startswith(magic):
            raise UserFacingError(
                f"{str(path)!r} is compressed by {name}: nothing was restored. Decompress it with {command}, and name the result."
            )
    if first.startswith(UTF_16):
        raise UserFacingError(
            f"{str(path)!r} is in UTF-16, as a shell of Windows writes it: nothing was restored. Dump the database again with pg_dump --file."
        )
    if b"\0" in first:
        raise UserFacingError(
            f"{str(path)!r} is no dump of PostgreSQL and no snapshot of Qdrant: nothing was restored. Name a file of pg_dump."
        )


def _folder(path: Path) -> UserFacingError:
    if (path / TOC).is_file():
        return _convert(path, "a folder (pg_dump --format=directory)")
    return UserFacingError(
        f"{str(path)!r} is a folder without a backup and without a dump: nothing was restored. Name a backup, or a file of pg_dump."
    )


def _tar(path: Path, *, is_gzip: bool) -> DumpFile:
    with opened(path, is_gzip=is_gzip) as file:
        try:
            with tarfile.open(fileobj=cast("BinaryIO", file), mode="r|") as archive:
                for member in archive:
                    name = member.name.removeprefix("./")
                    if name == TOC:
                        raise _convert(path, "a tar file (pg_dump --format=tar)")
                    if name == SNAPSHOT_FILE:
                        return DumpFile(path, Kind.SNAPSHOT, is_gzip)
        except tarfile.TarError:
            pass
    raise UserFacingError(f"{str(path)!r} is a tar file, but no snapshot of Qdrant: nothing was restored. Name a file of pg_dump.")


def _convert(path: Path, form: str) -> UserFacingError:
    return UserFacingError(
        f"{str(path)!r} is {form}: nothing was restored. Convert it with pg_restore --file=dump.sql {path}, and name dump.sql."
    )


def size_of(path: Path) -> int:
    return path.stat().st_size
