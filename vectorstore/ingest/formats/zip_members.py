"""The two members of an ``.npz`` file: what may be unpacked, and how much can come out of it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from typing import BinaryIO

from findme.core.errors import UserFacingError
from vectorstore.projection.validation import truncated_repr

MEMBERS = ("user_ids.npy", "vectors.npy")
PACKED = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: 1032}
"""The methods that numpy writes, each with the bytes that can come out of one byte (zlib's technical notes: 1032 : 1)."""
OTHER_METHODS = {zipfile.ZIP_BZIP2: "bzip2", zipfile.ZIP_LZMA: "LZMA"}
LARGEST_READ = 1 << 20
NAMES_SHOWN = 5


class InSmallReads(io.RawIOBase):
    """A seekable file of which nothing reads more than 1 MiB at a time.

    zipfile reads the central directory at once, and makes an object of each entry. The file says how long the directory is.
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
        """Raises BadZipFile for more than is allowed, where there is as much."""
        found = self._stream.read(LARGEST_READ + 1 if size < 0 else min(size, LARGEST_READ + 1))
        if len(found) > LARGEST_READ:
            raise zipfile.BadZipFile(f"its list of members is longer than {LARGEST_READ:,} bytes")
        return found


def user_ids_and_vectors(archive: zipfile.ZipFile, size: int, name: str) -> Iterator[zipfile.ZipInfo]:
    """Return both members of a file of ``size`` bytes, which the messages call ``name``.

    Raises UserFacingError where there are other members, where one is there twice, or packed in another way than numpy does. Raises
    BadZipFile where they claim more bytes than the file has.
    """
    infos = archive.infolist()
    names = {info.filename for info in infos}
    if names != set(MEMBERS):
        raise UserFacingError(f"{name} holds {_listed(names)}, and must hold the arrays user_ids and vectors, and no other.")
    if len(infos) > len(MEMBERS):
        raise UserFacingError(f"{name} holds one of its arrays twice: save it again with numpy.savez.")
    for info in infos:
        if info.compress_type not in PACKED:
            packed = OTHER_METHODS.get(info.compress_type, f"method {info.compress_type}")
            raise UserFacingError(
                f"{name}: {info.filename.removesuffix('.npy')} is packed with {packed}: save it with numpy.savez or numpy.savez_compressed."
            )
    if sum(info.compress_size for info in infos) > size:
        raise zipfile.BadZipFile("its members are larger than the file")
    return map(archive.getinfo, MEMBERS)


def most_bytes(info: zipfile.ZipInfo) -> int:
    """Return how many bytes can come out of the member, whatever it says."""
    return info.compress_size * PACKED[info.compress_type]


def _listed(names: set[str]) -> str:
    shown = [truncated_repr(name).strip("'") for name in sorted(name.removesuffix(".npy") for name in names)[:NAMES_SHOWN]]
    return ", ".join([*shown, f"{len(names) - NAMES_SHOWN:,} more"] if len(names) > NAMES_SHOWN else shown) or "nothing"
