"""Validation and normalization of vectors before they are stored or sent.

Qdrant does not reject a vector of zeros, nor NaN by gRPC.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from findme.core.plurals import counted
from vectorstore.models import VECTOR_SIZE
from vectorstore.projection.validation import NUMBERS, truncated_repr

Reals: TypeAlias = NDArray[np.float32]

ELEMENT = np.dtype([("length", ">i4"), ("number", ">f4")])
"""A number in a ``real[]``, in PostgreSQL's binary format."""


def reals(numbers: object) -> Reals:
    """Return a list, or an array of one dimension, as finite float32.

    Raise ValueError with the reason ("number 3 is NaN"). The caller puts the name of the value before it.
    """
    array = numbers if isinstance(numbers, np.ndarray) else _array_of(numbers)
    if array.ndim != 1 or array.dtype.kind not in "fiu":
        raise ValueError("is not a list of numbers")
    if array.dtype.kind != "f":
        # First to 64 bits, as for a number of a JSON text: directly to 32 bits, a large integer may be rounded to another number.
        array = array.astype(np.float64)
    with np.errstate(over="ignore", under="ignore"):
        rounded = array.astype(np.float32)
    if not np.isfinite(rounded).all():
        first = int(np.argmin(np.isfinite(rounded)))
        raise ValueError(f"number {first + 1} is {_name_of(array[first].item())}")
    return rounded


def vector(numbers: object) -> Reals:
    """Return 512 finite numbers as float32, not all 0. Raise ValueError with the reason for other values."""
    rounded = reals(numbers)
    if len(rounded) != VECTOR_SIZE:
        raise ValueError(f"has {counted(len(rounded), 'number')}, and must have {VECTOR_SIZE}")
    if not rounded.any():
        raise ValueError("is all zeros as 32-bit numbers: it has no direction")
    return rounded


def matrix(numbers: NDArray[Any]) -> tuple[Reals, list[bool]]:
    """Return rows of 512 floating-point numbers as float32, and for each row whether it is a valid vector.

    All rows are converted at once. ``vector`` raises the reason for an invalid row.
    """
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        rounded = np.ascontiguousarray(numbers, dtype=np.float32)
        valid: NDArray[np.bool_] = np.logical_and(np.isfinite(rounded).all(axis=1), rounded.any(axis=1))
    return rounded, valid.tolist()


def unit(numbers: Reals) -> list[float]:
    """Return the vector with length 1.

    This is computed in 64 bits. In 32 bits the squares of 32-bit numbers may overflow or become 0.
    """
    wide = numbers.astype(np.float64)
    direction: list[float] = (wide / np.linalg.norm(wide)).tolist()
    return direction


def _array_of(numbers: object) -> NDArray[np.float64]:
    if not isinstance(numbers, list):
        raise ValueError("is not a list of numbers")  # noqa: TRY004  # one kind of error for every reason
    if not NUMBERS.issuperset(map(type, numbers)):
        first = next(index for index, number in enumerate(numbers) if type(number) not in NUMBERS)
        raise ValueError(f"number {first + 1} is not a number: {truncated_repr(numbers[first])}")
    try:
        return np.array(numbers, dtype=np.float64)
    except OverflowError:
        raise ValueError("has a whole number beyond the range of 32-bit numbers") from None


def _name_of(number: float) -> str:
    if math.isnan(number):
        return "NaN"
    return "infinite" if math.isinf(number) else f"{number!r}, beyond the range of 32-bit numbers"
