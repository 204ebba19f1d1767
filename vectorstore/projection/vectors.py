"""Vectors as they are stored: lists of real numbers, checked before anything is sent (Qdrant checks neither zeros nor, by gRPC, NaN)."""

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
"""A number of a ``real[]`` in PostgreSQL's binary format."""


def reals(numbers: object) -> Reals:
    """A list, or an array of one dimension, as finite float32.

    Raises ValueError with the reason ("number 3 is NaN"), which reads on after the name of what was checked.
    """
    as_read = numbers if isinstance(numbers, np.ndarray) else _array_of(numbers)
    if as_read.ndim != 1 or as_read.dtype.kind not in "fiu":
        raise ValueError("is not a list of numbers")
    if as_read.dtype.kind != "f":
        as_read = as_read.astype(
            np.float64
        )  # as those of a JSON text are: straight to 32 bits, a large one may be rounded to another number
    with np.errstate(over="ignore", under="ignore"):
        rounded = as_read.astype(np.float32)
    if not np.isfinite(rounded).all():
        first = int(np.argmin(np.isfinite(rounded)))
        raise ValueError(f"number {first + 1} is {_name_of(as_read[first].item())}")
    return rounded


def vector(numbers: object) -> Reals:
    """512 finite numbers, not all of them 0 as float32. Raises ValueError with the reason."""
    rounded = reals(numbers)
    if len(rounded) != VECTOR_SIZE:
        raise ValueError(f"has {counted(len(rounded), 'number')}, and must have {VECTOR_SIZE}")
    if not rounded.any():
        raise ValueError("is all zeros as 32-bit numbers: it has no direction")
    return rounded


def matrix(numbers: NDArray[Any]) -> tuple[Reals, list[bool]]:
    """Rows of 512 floating-point numbers as float32, all at once, and for each whether it is a vector. ``vector`` tells what is wrong with one
    that is none."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        rounded = np.ascontiguousarray(numbers, dtype=np.float32)
        sound: NDArray[np.bool_] = np.logical_and(np.isfinite(rounded).all(axis=1), rounded.any(axis=1))
    return rounded, sound.tolist()


def unit(numbers: Reals) -> list[float]:
    """The direction of a vector, of length 1 and computed in 64 bits: the squares of 32-bit numbers may overflow or vanish in 32 bits."""
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
