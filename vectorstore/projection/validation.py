"""Validation of interests, coordinates and numbers, and the form of values in error messages."""

from __future__ import annotations

import re
import reprlib

from vectorstore.models.interests import normalized
from vectorstore.models.limits import LONGEST_INTEREST

NUMBERS = {int, float}
"""The types of a number. A boolean is not a number, although Python's ``bool`` is an ``int``."""

UNSTORABLE = re.compile("[\0\ud800-\udfff]")
"""Characters that PostgreSQL cannot store in a text: NUL and half of a surrogate pair."""


def interest(value: object) -> str:
    """Return the normalized text. Raise ValueError with the reason if it is empty, too long, or cannot be stored in PostgreSQL."""
    if not isinstance(value, str) or not (text := normalized(value)):
        raise ValueError(f"an interest must be a text that is not empty, not {truncated_repr(value)}")
    if UNSTORABLE.search(text):
        raise ValueError(f"an interest has a character that PostgreSQL cannot store: {truncated_repr(value)}")
    if len(text) > LONGEST_INTEREST:
        raise ValueError(f"an interest has at most {LONGEST_INTEREST} characters, not {len(text):,}: {truncated_repr(text)}")
    return text


def latitude(value: object) -> float:
    """Return a number from -90 to 90. Raise ValueError with the reason for other values."""
    return _degrees("lat", value, 90)


def longitude(value: object) -> float:
    """Return a number from -180 to 180. Raise ValueError with the reason for other values."""
    return _degrees("lon", value, 180)


def _degrees(name: str, value: object, most: int) -> float:
    if type(value) not in NUMBERS or not isinstance(value, (int, float)):
        raise ValueError(f"{name} is not a number: {truncated_repr(value)}")
    # False for NaN too.
    if not -most <= value <= most:
        raise ValueError(f"{name} is {truncated_repr(value)}, and must be from -{most} to {most}")
    return float(value)


JSON_NAMES = {None: "null", True: "true", False: "false"}

_repr = reprlib.Repr()
_repr.maxlevel, _repr.maxlist, _repr.maxdict, _repr.maxstring, _repr.maxother, _repr.maxlong = 2, 3, 3, 60, 60, 40


def truncated_repr(value: object) -> str:
    """Return ``repr(value)``, truncated. Deeply nested values raise no error."""
    return JSON_NAMES[value] if value is None or isinstance(value, bool) else _repr.repr(value)


def printable(text: str) -> str:
    """Return ``text`` with the escapes of ``repr`` for newlines, control characters and surrogates.

    The name of a file may have any of them.
    """
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
