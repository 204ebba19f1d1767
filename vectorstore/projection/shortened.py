"""A value in an error: as JSON names it, cut to what fits into a line."""

from __future__ import annotations

import reprlib

JSON_NAMES = {None: "null", True: "true", False: "false"}

_repr = reprlib.Repr()
_repr.maxlevel, _repr.maxlist, _repr.maxdict, _repr.maxstring, _repr.maxother, _repr.maxlong = 2, 3, 3, 60, 60, 40


def shortened(value: object) -> str:
    """``repr`` of VALUE, never long, and never an error however deep it is."""
    return JSON_NAMES[value] if value is None or isinstance(value, bool) else _repr.repr(value)


def printable(text: str) -> str:
    """Return ``text`` with the escapes of ``repr`` for newlines, controls and surrogates: for the name of a file, which may have any of them."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
