"""Write rows in PostgreSQL's binary COPY format, which the manual's page on COPY describes.

Binary vectors load ten times faster than text.
"""

from __future__ import annotations

import json as json_text
import struct
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from vectorstore.projection.vectors import ELEMENT, Reals

BEGIN = b"PGCOPY\n\xff\r\n\0" + bytes(8)
END = b"\xff\xff"
NULL = b"\xff\xff\xff\xff"
OID_OF_REAL, OID_OF_TEXT = 700, 25


def line(values: Sequence[bytes | None]) -> bytes:
    """Return one row. Each field is its binary value, or None for NULL."""
    return struct.pack("!h", len(values)) + fields(values)


def fields(values: Sequence[bytes | None]) -> bytes:
    """Return fields of a row, without the number of fields that begins the row."""
    return b"".join([NULL if value is None else _sized(value) for value in values])


def lines_of_vectors(user_ids: bytes, vectors: NDArray[np.float32], tails: Sequence[bytes], *, fields: int) -> bytes:
    """Return rows of an id, a vector as ``real[]``, and the other fields in ``tails``.

    Each id takes 16 bytes of ``user_ids``, and each vector is a row of ``vectors``. ``fields`` is the number of fields of a row. The result equals
    that of ``line``, but is many times faster to build: numpy lays out all ids and vectors at once.
    """
    alike = tails[0] if tails.count(tails[0]) == len(tails) else b""
    count, size = vectors.shape
    lines = np.empty(count, _layout(size, len(alike)))
    lines["fields"], lines["size_of_id"], lines["user_id"] = fields, 16, np.frombuffer(user_ids, "V16")
    lines["size_of_vector"], lines["header"] = 20 + size * ELEMENT.itemsize, np.void(_array_header(OID_OF_REAL, size))
    lines["numbers"]["length"], lines["numbers"]["number"] = 4, vectors
    if alike:
        lines["tail"] = np.void(alike)
        return lines.tobytes()
    laid_out = memoryview(lines.tobytes())
    step = lines.dtype.itemsize
    return b"".join([part for row, tail in enumerate(tails) for part in (laid_out[row * step : (row + 1) * step], tail)])


def _layout(size: int, length_of_tail: int) -> np.dtype[np.void]:
    return np.dtype(
        [
            ("fields", ">i2"),
            ("size_of_id", ">i4"),
            ("user_id", "V16"),
            ("size_of_vector", ">i4"),
            ("header", "V20"),
            ("numbers", ELEMENT, (size,)),
            ("tail", f"V{length_of_tail}"),
        ]
    )


def boolean(value: bool) -> bytes:
    return b"\1" if value else b"\0"


def double(value: float) -> bytes:
    return struct.pack("!d", value)


def reals(values: Reals) -> bytes:
    """Return a ``real[]``."""
    elements = np.empty(len(values), ELEMENT)
    elements["length"], elements["number"] = 4, values
    return _array_header(OID_OF_REAL, len(values)) + elements.tobytes()


def texts(values: Iterable[str]) -> bytes:
    """Return a ``text[]``."""
    elements = [_sized(value.encode()) for value in values]
    return _array_header(OID_OF_TEXT, len(elements)) + b"".join(elements)


def json(value: object) -> bytes:
    """Return a ``jsonb``. Version 1 of its format is the text."""
    return b"\1" + json_text.dumps(value).encode()


def _array_header(oid: int, length: int) -> bytes:
    """Return the header of an array with one dimension, lower bound 1 and no NULL. An empty array has no dimension."""
    return struct.pack("!iiIii", 1, 0, oid, length, 1) if length else struct.pack("!iiI", 0, 0, oid)


def _sized(value: bytes) -> bytes:
    return struct.pack("!i", len(value)) + value
