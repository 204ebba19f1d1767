"""The header of a ``.npy`` file, as numpy.lib.format documents it: nothing that would have to be unpickled is ever read."""

from __future__ import annotations

import ast
import re
import struct
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from findme.core.errors import UserFacingError
from vectorstore.projection.validation import truncated_repr

MAGIC = b"\x93NUMPY"
LENGTH_OF_HEADER = {(1, 0): "<H", (2, 0): "<I"}
LONGEST_HEADER = 1 << 16
LARGEST_SIZE = (1 << 63) - 1
KEYS = {"descr", "fortran_order", "shape"}
PLAIN_TYPE = re.compile(r"[<>|=]?[fiuSUV][0-9]{1,4}")


@dataclass(frozen=True, slots=True)
class Header:
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def read_header(stream: IO[bytes], name: str) -> Header:
    """Read the header and leave the stream at the first number. Raises UserFacingError, with the array called NAME, for what is not an
    array of plain numbers, texts or bytes in C order."""
    said = _said(stream, name)
    shape, descr = said["shape"], said["descr"]
    if not isinstance(shape, tuple) or not all(type(size) is int and 0 <= size <= LARGEST_SIZE for size in shape):
        raise UserFacingError(f"{name} is damaged: its shape is {truncated_repr(shape)}.")
    if said["fortran_order"] and len(shape) > 1:
        raise UserFacingError(f"{name} is stored by columns and cannot be read row by row: save numpy.ascontiguousarray(...) of it.")
    return Header(shape, _dtype(descr, name))


def _said(stream: IO[bytes], name: str) -> dict[str, Any]:
    magic = _exactly(stream, 8, name)
    version = (magic[6], magic[7])
    if magic[:6] != MAGIC or version not in LENGTH_OF_HEADER:
        raise UserFacingError(f"{name} is not an array of numpy's format 1.0 or 2.0.")
    form = LENGTH_OF_HEADER[version]
    (length,) = struct.unpack(form, _exactly(stream, struct.calcsize(form), name))
    if length > LONGEST_HEADER:
        raise UserFacingError(f"{name} is damaged: its header claims {length:,} bytes.")
    try:
        said = ast.literal_eval(_exactly(stream, length, name).decode("latin-1").strip())
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        said = None
    if not isinstance(said, dict) or set(said) != KEYS:
        raise UserFacingError(f"{name} is damaged: its header cannot be read.")
    return said


def _dtype(descr: object, name: str) -> np.dtype[Any]:
    if isinstance(descr, str) and descr.lstrip("<>|=").startswith("O"):
        raise UserFacingError(f"{name} holds pickled Python objects, which are never read: save it as numbers or texts of a fixed length.")
    try:
        if isinstance(descr, str) and PLAIN_TYPE.fullmatch(descr):
            return np.dtype(descr)
    except TypeError:
        pass
    raise UserFacingError(f"{name} holds {truncated_repr(descr)}, and not plain numbers, texts or bytes.")


def _exactly(stream: IO[bytes], count: int, name: str) -> bytes:
    found = stream.read(count)
    if len(found) < count:
        raise UserFacingError(f"{name} is damaged: it ends within its header.")
    return found
