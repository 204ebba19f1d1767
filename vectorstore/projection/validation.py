"""What an interest, a coordinate and a number of a profile may be, and how a value is shown in an error."""

from __future__ import annotations

import re
import reprlib

from vectorstore.models.interests import normalized
from vectorstore.models.limits import LONGEST_INTEREST

NUMBERS = {int, float}
"""The types of a number. A boolean is none, though Python's ``bool`` is an ``int``."""

UNSTORABLE = re.compile("[\0\ud800-\udfff]")
"""What a text in PostgreSQL cannot hold: NUL, and half of a surrogate pair."""


def interest(value: object) -> str:
    """Return the text as it is compared. Raises ValueError with the reason, for one with nothing in it, that is too long, or that PostgreSQL cannot keep."""
    if not isinstance(value, str) or not (text := normalized(value)):
        raise ValueError(f"an interest is a text with something in it, and not {truncated_repr(value)}")
    if UNSTORABLE.search(text):
        raise ValueError(f"an interest has a character that PostgreSQL cannot keep: {truncated_repr(value)}")
    if len(text) > LONGEST_INTEREST:
        raise ValueError(f"an interest has at most {LONGEST_INTEREST} characters, and not {len(text):,}: {truncated_repr(text)}")
    return text


def latitude(value: object) -> float:
    """From -90 to 90. Raises ValueError with the reason."""
    return _degrees("lat", value, 90)


def longitude(value: object) -> float:
    """From -180 to 180. Raises ValueError with the reason."""
    return _degrees("lon", value, 180)


def _degrees(name: str, value: object, most: int) -> float:
    if type(value) not in NUMBERS or not isinstance(value, (int, float)):
        raise ValueError(f"{name} is not a number: {truncated_repr(value)}")
    if not -most <= value <= most:  # NaN neither
        raise ValueError(f"{name} is {truncated_repr(value)}, and must be from -{most} to {most}")
    return float(value)


JSON_NAMES = {None: "null", True: "true", False: "false"}

_repr = reprlib.Repr()
_repr.maxlevel, _repr.maxlist, _repr.maxdict, _repr.maxstring, _repr.maxother, _repr.maxlong = 2, 3, 3, 60, 60, 40


def truncated_repr(value: object) -> str:
    """``repr`` of VALUE, never long, and never an error however deep it is."""
    return JSON_NAMES[value] if value is None or isinstance(value, bool) else _repr.repr(value)


def printable(text: str) -> str:
    """Return ``text`` with the escapes of ``repr`` for newlines, controls and surrogates: for the name of a file, which may have any of them."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
