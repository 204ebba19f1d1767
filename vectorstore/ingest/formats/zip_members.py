"""Check the two members of an ``.npz`` file before they are unpacked, and limit their unpacked size."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from typing import BinaryIO

from findme.core.errors import UserFacingError
from vectorstore.projection.validation import truncated_repr

MEMBERS = ("user_ids.npy", "vectors.npy")
EXPANSION = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: 1032}
"""The compression methods that numpy writes, each with the maximum unpacked bytes per byte (zlib's technical notes: 1032 : 1)."""
OTHER_METHODS = {zipfile.ZIP_BZIP2: "bzip2", zipfile.ZIP_LZMA: "LZMA"}
LARGEST_READ = 1 << 20
NAMES_SHOWN = 5


class InSmallReads(io.RawIOBase):
    """A seekable file that refuses reads of more than 1 MiB.

    zipfile reads the whole central directory at once and creates an object for each entry. The length of the directory comes from the file itself.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def read(self, size: int = -1) -> bytes:
        """Read up to ``size`` bytes. Raises BadZipFile if that returns more than 1 MiB."""
        found = self._stream.read(LARGEST_READ + 1 if size < 0 else min(size, LARGEST_READ + 1))
        if len(found) > LARGEST_READ:
            raise zipfile.BadZipFile(f"its list of members is longer than {LARGEST_READ:,} bytes")
        return found


def user_ids_and_vectors(archive: zipfile.ZipFile, size: int, name: str) -> Iterator[zipfile.ZipInfo]:
    """Return both members of a file of ``size`` bytes. Messages call the file ``name``.

    Raises UserFacingError for other members, for a member that is there twice, and for a compression method that numpy does not use. Raises
    BadZipFile if the members claim more bytes than the file has.
    """
    infos = archive.infolist()
    names = {info.filename for info in infos}
    if names != set(MEMBERS):
        raise UserFacingError(f"{name} contains {_join(names)}. Save exactly the arrays user_ids and vectors.")
    if len(infos) > len(MEMBERS):
        raise UserFacingError(f"{name} contains one of its arrays twice. Save it again with numpy.savez.")
    for info in infos:
        if info.compress_type not in EXPANSION:
            method = OTHER_METHODS.get(info.compress_type, f"method {info.compress_type}")
            raise UserFacingError(
                f"{name}: {info.filename.removesuffix('.npy')} is compressed with {method}. Save it with numpy.savez or numpy.savez_compressed."
            )
    if sum(info.compress_size for info in infos) > size:
        raise zipfile.BadZipFile("its members are larger than the file")
    return map(archive.getinfo, MEMBERS)


def most_bytes(info: zipfile.ZipInfo) -> int:
    """Return the maximum unpacked size of the member, independent of the size that it claims."""
    return info.compress_size * EXPANSION[info.compress_type]


def _join(names: set[str]) -> str:
    shown = [truncated_repr(name).strip("'") for name in sorted(name.removesuffix(".npy") for name in names)[:NAMES_SHOWN]]
    return ", ".join([*shown, f"{len(names) - NAMES_SHOWN:,} more"] if len(names) > NAMES_SHOWN else shown) or "nothing"
