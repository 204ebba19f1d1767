"""Read ``.npz`` files: stream the arrays ``user_ids`` and ``vectors`` from the zip file, a few hundred rows at a time.

zipfile unpacks bzip2 and LZMA without a limit: 4,854 bytes become gigabytes. So ``zip_members`` checks both members before one is opened.
"""

from __future__ import annotations

import math
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeAlias
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from findme.core.errors import UserFacingError, ends_of, one_line
from findme.core.plurals import counted
from vectorstore.ingest.formats import zip_members
from vectorstore.ingest.formats.input_file import no_rows, opened_file, reading
from vectorstore.ingest.formats.npy import read_header
from vectorstore.ingest.formats.plain_json import plain_json
from vectorstore.ingest.rows import BadRow, Content, Entry, Kind, Row, entry, uuid_of
from vectorstore.models import VECTOR_SIZE
from vectorstore.projection.validation import truncated_repr
from vectorstore.projection.vectors import matrix

Array: TypeAlias = NDArray[Any]

ROWS_AT_A_TIME = 256
LONGEST_ID = 256
"""In bytes. ``U36`` has 144."""
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError)
"""Errors of zipfile for a file that is truncated, changed, encrypted or compressed with an unknown method."""


@dataclass(frozen=True, slots=True)
class _Member:
    stream: IO[bytes]
    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def row_size(self) -> int:
        """Return the size of a row in bytes."""
        return self.dtype.itemsize * math.prod(self.shape[1:])

    def rows(self, count: int) -> Array:
        """Return the next ``count`` rows. Raises UserFacingError if there are fewer."""
        wanted = count * self.row_size
        found = self.stream.read(wanted)
        if len(found) < wanted:
            raise self.too_short()
        return np.frombuffer(found, self.dtype).reshape(count, *self.shape[1:])

    def end(self) -> None:
        """Raise UserFacingError if more data follows. At the end, zipfile also compares the checksum."""
        if self.stream.read(1):
            raise self.too_long()

    def too_short(self) -> UserFacingError:
        return UserFacingError(f"{self.name} is damaged: it has fewer than {counted(self.shape[0], 'row')}. Save it again with numpy.")

    def too_long(self) -> UserFacingError:
        return UserFacingError(f"{self.name} is damaged: it has more data than {counted(self.shape[0], 'row')}. Save it again with numpy.")


def check_npz(path: Path) -> int:
    """Return the number of rows. Raises UserFacingError unless the file exists and both arrays can be read row by row."""
    with _members(path) as (user_ids, _):
        return user_ids.shape[0]


def read_npz(path: Path, name: str) -> Iterator[Entry]:
    """Yield the rows of the file. Raises UserFacingError if it is damaged."""
    with _members(path) as (user_ids, vectors):
        total = user_ids.shape[0]
        for start in range(0, total, ROWS_AT_A_TIME):
            count = min(ROWS_AT_A_TIME, total - start)
            yield from _entries(name, start, user_ids.rows(count), vectors.rows(count))
        user_ids.end()
        vectors.end()


def _entries(name: str, start: int, user_ids: Array, vectors: Array) -> Iterator[Entry]:
    """Yield the rows. All ids and vectors are validated at once. Only a bad row is validated again alone, to find the reason."""
    ids, (rounded, valid) = _parse_ids(user_ids), matrix(vectors)
    size = vectors[:1].nbytes
    for index, user_id in enumerate(ids):
        original = partial(_as_given, user_ids, vectors, index)
        if user_id is not None and valid[index]:
            yield Row(name, start + index + 1, Content(user_id, rounded[index]), original, size)
        else:
            yield entry(name, start + index + 1, partial(_fields, user_ids, vectors, index), original, size)


def _parse_ids(user_ids: Array) -> list[UUID | None]:
    """Return the UUIDs, with None for a value that is not a UUID or not decodable."""
    if user_ids.dtype.kind == "V":
        content = user_ids.tobytes()
        return [UUID(bytes=content[start : start + 16]) for start in range(0, len(content), 16)]
    try:
        texts = (user_ids if user_ids.dtype.kind == "U" else np.char.decode(user_ids, "ascii")).tolist()
    except ValueError:
        return [None] * len(user_ids)
    return [uuid_of(text) for text in texts]


def _fields(user_ids: Array, vectors: Array, index: int) -> Mapping[str, object]:
    try:
        return {"user_id": _user_id(user_ids[index : index + 1]), "vector": vectors[index]}
    except UnicodeDecodeError:
        raise BadRow(Kind.BAD_USER_ID, "user_id is not a text") from None


def _as_given(user_ids: Array, vectors: Array, index: int) -> object:
    user_id, vector = user_ids[index : index + 1], vectors[index]
    try:
        return plain_json({"user_id": _user_id(user_id), "vector": vector})
    except UnicodeDecodeError:
        return plain_json({"user_id": user_id.tobytes(), "vector": vector})


def _user_id(one: Array) -> str | UUID:
    """Return the only element of ``one``: a UUID for 16 bytes, else a text. Raises UnicodeDecodeError."""
    content = one.tobytes()
    match one.dtype.kind:
        case "V":
            return UUID(bytes=content)
        case "U":
            return content.decode(f"utf-32-{'be' if one.dtype.byteorder == '>' else 'le'}").rstrip("\0")
    return content.rstrip(b"\0").decode()


@contextmanager
def _members(path: Path) -> Iterator[tuple[_Member, _Member]]:
    with opened_file(path) as stream, _damage_of(path), zipfile.ZipFile(zip_members.InSmallReads(stream)) as archive:
        first, second = zip_members.user_ids_and_vectors(archive, os.fstat(stream.fileno()).st_size, repr(str(path)))
        with archive.open(first) as user_ids, archive.open(second) as vectors:
            checked = _checked(path, _member(user_ids, path), _member(vectors, path))
            for member, info in zip(checked, (first, second), strict=True):
                _check_size(member, info)
            yield checked


def _member(stream: IO[bytes], path: Path) -> _Member:
    name = f"{str(path)!r}: {str(stream.name).removesuffix('.npy')}"
    header = read_header(stream, name)
    return _Member(stream, name, header.dtype, header.shape)


def _check_size(member: _Member, info: zipfile.ZipInfo) -> None:
    """Raise UserFacingError unless the member's size fits the number of rows in its header, which was just read."""
    claimed = member.stream.tell() + member.row_size * member.shape[0]
    if claimed > min(info.file_size, zip_members.most_bytes(info)):
        raise member.too_short()
    if claimed < info.file_size:
        raise member.too_long()


def _checked(path: Path, user_ids: _Member, vectors: _Member) -> tuple[_Member, _Member]:
    if user_ids.dtype.kind not in "SUV" or len(user_ids.shape) != 1 or not 0 < user_ids.dtype.itemsize <= LONGEST_ID:
        raise UserFacingError(
            f"{user_ids.name} contains {user_ids.dtype.str} in the shape {truncated_repr(user_ids.shape)}. Save it as a list of texts (U36) or UUIDs (V16)."
        )
    if user_ids.dtype.kind == "V" and user_ids.dtype.itemsize != 16:
        raise UserFacingError(f"{user_ids.name} contains ids of {user_ids.dtype.itemsize} bytes. Save UUIDs of 16 bytes.")
    if vectors.dtype.kind != "f" or vectors.dtype.itemsize > 8:
        raise UserFacingError(f"{vectors.name} contains {vectors.dtype.str}. Save floating-point numbers of 16, 32 or 64 bits.")
    if vectors.shape != (user_ids.shape[0], VECTOR_SIZE):
        raise UserFacingError(
            f"{vectors.name} has the shape {truncated_repr(vectors.shape)} instead of {(user_ids.shape[0], VECTOR_SIZE)}. Save a row of {VECTOR_SIZE} for"
            " each id."
        )
    if not user_ids.shape[0]:
        raise no_rows(str(path))
    return user_ids, vectors


@contextmanager
def _damage_of(path: Path) -> Iterator[None]:
    try:
        with reading(str(path)):
            yield
    except DAMAGE as error:
        raise UserFacingError(f"{str(path)!r} is damaged or not an .npz file: {ends_of(one_line(error))}.") from error
