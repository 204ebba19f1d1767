"""Read and write JSON without changing the digits of numbers.

Python reads ``1.10`` as ``1.1`` and ``12345678901234567.891`` as the nearest double, and rejects a number of 5,000 digits. Here such a number
keeps its text. A document that is too deep for Python's parser keeps its whole text.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from json.encoder import encode_basestring, encode_basestring_ascii
from typing import Any, Self, SupportsIndex

MOST_DIGITS = 4_000
"""Longer integers keep their text. Python's ``int`` converts at most 4,300 digits, and an operator can change that limit."""
DIGITS_BEFORE_POINT, DIGITS_AFTER_POINT = 131_072, 16_383
"""The range of PostgreSQL's ``numeric``, the type of numbers in ``jsonb``."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_NUMBER = re.compile(r"-?(\d+)(?:\.(\d+))?(?:[eE]([-+]?\d+))?")


class ExactNumber(float):
    """A JSON number that ``float`` and ``int`` would write with other digits.

    Its value is the nearest float, which can be infinite. ``text`` has the digits.
    """

    text: str

    def __new__(cls, text: str) -> Self:
        number = super().__new__(cls, text)
        number.text = text
        return number

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        return (type(self), (self.text,))


class RawJSON(str):
    """A JSON document that is written unchanged and never parsed."""

    __slots__ = ()


class ExactDecoder(json.JSONDecoder):
    """A JSON decoder that keeps all digits."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options | {"parse_float": _float, "parse_int": _int})


@dataclass(slots=True)
class _Level:
    """A list or an object that is being written."""

    container: object
    closing: str
    elements: Iterator[tuple[str, Any]]
    is_empty: bool = True


class ExactEncoder(json.JSONEncoder):
    """A JSON encoder that writes the values of ``ExactDecoder`` with the same digits.

    It also writes ``Decimal``. With ``lossless_text`` it writes values that JSON does not have: NaN and the infinities as texts, and a lone surrogate
    (half a character) as its escape.
    """

    lossless_text = False

    def encode(self, o: Any) -> str:
        text = "".join(self.iterencode(o))
        return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text) if self.lossless_text else text

    def iterencode(self, o: Any, _one_shot: bool = False) -> Iterator[str]:
        """Yield the pieces of the document. Raises ValueError for a circular reference.

        It does not use recursion, so Python's stack does not limit the depth.
        """
        indent = self.indent if isinstance(self.indent, str) or self.indent is None else " " * self.indent
        levels: list[_Level] = []
        # Ids of the containers in ``levels``. A search in the list would take a minute for a document of 100,000 levels.
        open_containers: set[int] = set()
        yield self._begin(o, levels, open_containers)
        while levels:
            level = levels[-1]
            for name, element in level.elements:
                yield f"{'' if level.is_empty else self.item_separator}{_line(indent, levels)}{name}"
                level.is_empty = False
                yield self._begin(element, levels, open_containers)
                if levels[-1] is not level:
                    break
            else:
                levels.pop()
                open_containers.remove(id(level.container))
                yield level.closing if level.is_empty else f"{_line(indent, levels)}{level.closing}"

    def _begin(self, value: Any, levels: list[_Level], open_containers: set[int]) -> str:
        """Return the text of a scalar. For a container, append a level and return the opening bracket."""
        match value:
            case dict():
                items = sorted(value.items()) if self.sort_keys else value.items()
                level = _Level(value, "}", iter([(f"{self._key(key)}{self.key_separator}", element) for key, element in items]))
            case list() | tuple():
                level = _Level(value, "]", (("", element) for element in value))
            case None | str() | int() | float() | Decimal():
                return self._scalar(value)
            case _:
                return self._begin(self.default(value), levels, open_containers)
        if id(value) in open_containers:
            raise ValueError("Circular reference detected")
        open_containers.add(id(value))
        levels.append(level)
        return "{" if level.closing == "}" else "["

    def _scalar(self, value: str | float | Decimal | None) -> str:
        match value:
            case RawJSON():
                return str(value)
            case str():
                return encode_basestring_ascii(value) if self.ensure_ascii else encode_basestring(value)
            case None | bool():
                return {None: "null", True: "true", False: "false"}[value]
            case ExactNumber():
                return value.text
            case int():
                return digits_of(value)
        return self._number(value)

    def _key(self, key: Any) -> str:
        """Return the text of a key. As in Python's encoder, other types become text."""
        if not isinstance(key, str):
            if not isinstance(key, int | float | None):
                raise TypeError(f"keys must be str, int, float, bool or None, not {type(key).__name__}")
            key = self._scalar(key)
        return self._scalar(str(key))

    def _number(self, number: float | Decimal) -> str:
        if math.isfinite(number):
            return float.__repr__(number) if isinstance(number, float) else str(number)
        name = "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
        if self.lossless_text:
            return f'"{name}"'
        if self.allow_nan:
            return name
        raise ValueError(f"Out of range float values are not JSON compliant: {name}")


class LosslessEncoder(ExactEncoder):
    """An encoder for exports: it can write every value, and writes values that JSON does not have as text."""

    lossless_text = True


def loads(text: str) -> Any:
    """Read JSON with all digits. A document that is too deep becomes a ``RawJSON``.

    Raises ValueError for a text that is not JSON.
    """
    try:
        return json.loads(text, cls=ExactDecoder)
    except RecursionError:
        return RawJSON(text)


def fits_numeric(text: str) -> bool:
    """Return whether ``jsonb`` can store the number. Some JSON numbers are too large, such as 1e200000."""
    found = _NUMBER.fullmatch(text)
    if found is None:
        return False
    whole, fraction, exponent = found[1], found[2] or "", found[3] or "0"
    if len(exponent) > 9:
        return False
    shift = int(exponent)
    significant = (whole + fraction).lstrip("0")
    before = len(significant) - len(fraction) + shift if significant else 0
    return before <= DIGITS_BEFORE_POINT and len(fraction) - shift <= DIGITS_AFTER_POINT


def _line(indent: str | None, levels: list[_Level]) -> str:
    return "" if indent is None else f"\n{indent * len(levels)}"


def _float(text: str) -> float:
    number = float(text)
    return number if repr(number) == text else ExactNumber(text)


def _int(text: str) -> int | float:
    return int(text) if len(text) <= MOST_DIGITS and text != "-0" else ExactNumber(text)


def digits_of(number: int) -> str:
    return int.__repr__(number) if number.bit_length() < 3 * MOST_DIGITS else str(Decimal(number))
