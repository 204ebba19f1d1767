"""Read the header of a ``.npy`` file, which numpy.lib.format documents. Pickled objects are never loaded."""

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
    """Read the header and leave the stream at the first element.

    Raises UserFacingError, with the array called ``name``, for anything but an array of plain numbers, texts or bytes in C order.
    """
    header = _header_fields(stream, name)
    shape, descr = header["shape"], header["descr"]
    if not isinstance(shape, tuple) or not all(type(size) is int and 0 <= size <= LARGEST_SIZE for size in shape):
        raise UserFacingError(f"{name} is damaged: its shape is {truncated_repr(shape)}. Save it again with numpy.")
    if header["fortran_order"] and len(shape) > 1:
        raise UserFacingError(f"{name} is stored by columns and cannot be read row by row. Save numpy.ascontiguousarray(...) of it.")
    return Header(shape, _dtype(descr, name))


def _header_fields(stream: IO[bytes], name: str) -> dict[str, Any]:
    magic = _exactly(stream, 8, name)
    version = (magic[6], magic[7])
    if magic[:6] != MAGIC or version not in LENGTH_OF_HEADER:
        raise UserFacingError(f"{name} is not an array in numpy's format 1.0 or 2.0. Save it with numpy.")
    form = LENGTH_OF_HEADER[version]
    (length,) = struct.unpack(form, _exactly(stream, struct.calcsize(form), name))
    if length > LONGEST_HEADER:
        raise UserFacingError(f"{name} is damaged: its header claims {length:,} bytes. Save it again with numpy.")
    try:
        header = ast.literal_eval(_exactly(stream, length, name).decode("latin-1").strip())
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        header = None
    if not isinstance(header, dict) or set(header) != KEYS:
        raise UserFacingError(f"{name} is damaged: its header cannot be read. Save it again with numpy.")
    return header


def _dtype(descr: object, name: str) -> np.dtype[Any]:
    if isinstance(descr, str) and descr.lstrip("<>|=").startswith("O"):
        raise UserFacingError(
            f"{name} contains pickled Python objects, which are never read. Save it as numbers or texts of a fixed length."
        )
    try:
        if isinstance(descr, str) and PLAIN_TYPE.fullmatch(descr):
            return np.dtype(descr)
    except TypeError:
        pass
    raise UserFacingError(f"{name} contains {truncated_repr(descr)}. Save it as plain numbers, texts or bytes.")


def _exactly(stream: IO[bytes], count: int, name: str) -> bytes:
    found = stream.read(count)
    if len(found) < count:
        raise UserFacingError(f"{name} is damaged: it ends within its header. Save it again with numpy.")
    return found
