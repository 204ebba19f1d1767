"""Validation and normalization of vectors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vectorstore.projection import vectors

ONES = [1.0] * 512


def test_vector__list_of_numbers__is_converted() -> None:
    checked = vectors.vector([1, 0.5] * 256)
    assert checked.dtype == np.float32
    assert checked.tolist() == [1.0, 0.5] * 256


@pytest.mark.parametrize("dtype", ["<f2", ">f4", "<f8", "<i8", "|u1"])
def test_vector__array_of_any_number_type__is_converted(dtype: str) -> None:
    assert vectors.vector(np.ones(512, dtype)).tolist() == ONES


@pytest.mark.parametrize(
    ("numbers", "reason"),
    [
        (ONES[:-1], "has 511 numbers, and must have 512"),
        ([], "has 0 numbers, and must have 512"),
        ([0.0] * 512, "is all zeros as 32-bit numbers: it has no direction"),
        ([1e-60] * 512, "is all zeros as 32-bit numbers: it has no direction"),
        ([1.0, float("nan"), *ONES[2:]], "number 2 is NaN"),
        ([*ONES[1:], float("-inf")], "number 512 is infinite"),
        ([1e39, *ONES[1:]], "number 1 is 1e+39, beyond the range of 32-bit numbers"),
        ([10**400, *ONES[1:]], "has a whole number beyond the range of 32-bit numbers"),
        ([True, *ONES[1:]], "number 1 is not a number: true"),
        ([1.0, None, *ONES[2:]], "number 2 is not a number: null"),
        ([1.0, "1", *ONES[2:]], "number 2 is not a number: '1'"),
        ([ONES], "number 1 is not a number: [1.0, 1.0, 1.0, ...]"),
        ("1.0", "is not a list of numbers"),
        ({"0": 1.0}, "is not a list of numbers"),
        (None, "is not a list of numbers"),
        (np.ones((1, 512)), "is not a list of numbers"),
        (np.ones(512, bool), "is not a list of numbers"),
        (np.array(["1"] * 512), "is not a list of numbers"),
    ],
)
def test_vector__invalid__is_refused(numbers: object, reason: str) -> None:
    with pytest.raises(ValueError, match=r".") as raised:
        vectors.vector(numbers)
    assert str(raised.value) == reason


def test_reals__any_length_and_zeros__are_accepted() -> None:
    assert vectors.reals([]).tolist() == []
    assert vectors.reals([0, 0.0]).tolist() == [0.0, 0.0]


@given(arrays(np.float32, 512, elements=st.floats(width=32, allow_nan=False, allow_infinity=False)).filter(np.any))
def test_unit__any_vector__has_length_1(numbers: vectors.Reals) -> None:
    """This includes vectors whose squares overflow or vanish in 32 bits."""
    direction = np.array(vectors.unit(vectors.vector(numbers)))
    assert np.isclose(np.linalg.norm(direction), 1)
    assert np.dot(direction, numbers.astype(np.float64)) > 0


def test_unit__smallest_and_largest_numbers__have_length_1() -> None:
    tiny, huge = np.zeros(512, np.float32), np.full(512, np.finfo(np.float32).max, np.float32)
    tiny[7] = np.finfo(np.float32).smallest_subnormal
    assert vectors.unit(tiny)[7] == 1.0
    assert np.allclose(vectors.unit(huge), 512**-0.5)
