"""Read one vector from a file, to search with it. The file is a JSON array or ``.npy``."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import BinaryIO

import numpy as np

from findme.core.errors import UserFacingError
from vectorstore.ingest.formats.npy import read_header
from vectorstore.models import VECTOR_SIZE
from vectorstore.projection import vectors
from vectorstore.projection.validation import truncated_repr
from vectorstore.projection.vectors import Reals

LONGEST_FILE = 1 << 20
"""In bytes. 512 numbers need about 10,000."""


def read_vector(path: Path) -> Reals:
    """Return the 512 numbers of the file. Raises UserFacingError if it cannot be read or is not a vector."""
    try:
        _require_file(path)
        with path.open("rb") as stream:
            numbers = _npy(stream, path) if path.suffix.lower() == ".npy" else _json(stream, path)
    except OSError as error:
        raise UserFacingError(f"{str(path)!r} cannot be read: {error.strerror or error}.") from error
    try:
        return vectors.vector(numbers)
    except ValueError as error:
        raise UserFacingError(f"{str(path)!r}: the vector {error}.") from None


def _require_file(path: Path) -> None:
    """Raise UserFacingError for a device and for a pipe, whose opening would wait for a writer.

    A folder passes: opening it raises a clear error.
    """
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise UserFacingError(f"{str(path)!r} is not an ordinary file. Save the vector to a file.")


def _json(stream: BinaryIO, path: Path) -> object:
    text = stream.read(LONGEST_FILE + 1)
    if len(text) > LONGEST_FILE:
        raise UserFacingError(f"{str(path)!r} is longer than {LONGEST_FILE:,} bytes. Save only one vector of {VECTOR_SIZE} numbers.")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserFacingError(f"{str(path)!r} is not a JSON array of {VECTOR_SIZE} numbers: {error}.") from None


def _npy(stream: BinaryIO, path: Path) -> object:
    header = read_header(stream, repr(str(path)))
    if header.shape not in ((VECTOR_SIZE,), (1, VECTOR_SIZE)):
        raise UserFacingError(f"{str(path)!r} has the shape {truncated_repr(header.shape)}. Save one vector of the shape {(VECTOR_SIZE,)}.")
    size = VECTOR_SIZE * header.dtype.itemsize
    found = stream.read(size)
    if len(found) < size or not size:
        raise UserFacingError(f"{str(path)!r} is damaged: it has fewer than {VECTOR_SIZE} numbers. Save it again with numpy.")
    return np.frombuffer(found, header.dtype)
