"""Format the lines of a rejects file, and limit the space that the rows of one input take.

A few hundred bytes of Parquet or deflated numbers can expand to thousands of large rows, and each row may be bad.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from vectorstore.ingest.rows import Rejection
from vectorstore.projection.validation import truncated_repr

FIELDS = ("file", "line", "reason", "row")
LONGEST_LINE = 256 << 10
"""In bytes. The largest valid row (512 numbers, 1,024 video features, 100 interests) needs less."""
LONGEST_USER_ID = 100
LONGEST_TEXT = 1000
"""In characters, for a row that is not an object."""
SPACE, SPACE_PER_BYTE = 16 << 20, 16
"""Bytes for whole rows: for any input, plus for each byte of the input. The JSON of 16-bit numbers has about 9 times their size."""
SHORT_SPACE, SHORT_SPACE_PER_BYTE = 64 << 20, 64
"""Bytes for shortened rows after that. A shortened row has about 300 bytes. Distinct ids need 16 bytes each in any file."""


class Written(Enum):
    """How much of a rejected row the file has."""

    WHOLE = auto()
    SHORTENED = auto()
    OMITTED = auto()


@dataclass(slots=True)
class _Space:
    """Remaining bytes for an input."""

    whole: float = math.inf
    shortened: float = math.inf


class RejectedLines:
    """Format rejected rows as lines, within the space of each input.

    ``sizes`` has the bytes of each input by its name. An input without a size (a pipe) has only the limit of a line: it is JSON Lines, so its rows
    are not larger than the input.
    """

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self._spaces = {
            name: _Space(SPACE + SPACE_PER_BYTE * size, SHORT_SPACE + SHORT_SPACE_PER_BYTE * size) for name, size in sizes.items()
        }

    def line(self, rejection: Rejection) -> tuple[bytes, Written]:
        """Return the line, and how much of the row it has.

        The line of an omitted row is empty. The first omitted row of an input has a line that says so.
        """
        space = self._spaces.setdefault(rejection.file, _Space())
        if not space.shortened:
            return b"", Written.OMITTED
        row = rejection.original()
        whole = _line(rejection, row)
        if len(whole) <= LONGEST_LINE:
            if len(whole) <= space.whole:
                space.whole -= len(whole)
                return whole, Written.WHOLE
            # Later rows are shortened too, even if they are smaller.
            space.whole = 0
        brief = _line(rejection, _shortened(row))
        line, written = (brief, Written.SHORTENED) if len(brief) < len(whole) else (whole, Written.WHOLE)
        if len(line) <= space.shortened:
            space.shortened -= len(line)
            return line, written
        space.shortened = 0
        return _line(rejection, {"omitted": "this row and every later one of this input"}), Written.OMITTED


def is_rejection(line: bytes) -> bool:
    """Return whether ``line`` is a line of a rejects file."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(fields, dict) and set(fields) == set(FIELDS)


def _line(rejection: Rejection, row: object) -> bytes:
    values = (rejection.file, rejection.line, rejection.reason, row)
    return json.dumps(dict(zip(FIELDS, values, strict=True))).encode() + b"\n"


def _shortened(row: object) -> dict[str, object]:
    """Return what identifies the row. The field ``shortened`` is unknown to the loader, so the row cannot be loaded by mistake."""
    if not isinstance(row, dict):
        return {"shortened": True, "text": (row if isinstance(row, str) else json.dumps(row))[:LONGEST_TEXT]}
    if "user_id" not in row:
        return {"shortened": True}
    user_id = row["user_id"]
    return {"shortened": True, "user_id": user_id[:LONGEST_USER_ID] if isinstance(user_id, str) else truncated_repr(user_id)}
