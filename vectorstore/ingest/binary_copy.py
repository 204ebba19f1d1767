"""PostgreSQL's binary COPY format, as the manual's page on COPY has it: vectors go in as bytes, ten times faster than as text."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

import numpy as np

from vectorstore.vectors import Reals

BEGIN = b"PGCOPY\n\xff\r\n\0" + bytes(8)
END = b"\xff\xff"
NULL = b"\xff\xff\xff\xff"
OID_OF_REAL, OID_OF_TEXT = 700, 25
ELEMENT = np.dtype([("length", ">i4"), ("number", ">f4")])


def line(fields: Sequence[bytes | None]) -> bytes:
    """One row: each field is its value in binary, or None for NULL."""
    return struct.pack("!h", len(fields)) + b"".join(NULL if value is None else _sized(value) for value in fields)


def boolean(value: bool) -> bytes:
    return b"\1" if value else b"\0"


def double(value: float) -> bytes:
    return struct.pack("!d", value)


def reals(values: Reals) -> bytes:
    """A ``real[]``."""
    elements = np.empty(len(values), ELEMENT)
    elements["length"], elements["number"] = 4, values
    return _array_header(OID_OF_REAL, len(values)) + elements.tobytes()


def texts(values: Iterable[str]) -> bytes:
    """A ``text[]``."""
    elements = [_sized(value.encode()) for value in values]
    return _array_header(OID_OF_TEXT, len(elements)) + b"".join(elements)


def _array_header(oid: int, length: int) -> bytes:
    """One dimension that begins at 1 and holds no NULL; an empty array has no dimension."""
    return struct.pack("!iiIii", 1, 0, oid, length, 1) if length else struct.pack("!iiI", 0, 0, oid)


def _sized(value: bytes) -> bytes:
    return struct.pack("!i", len(value)) + value
