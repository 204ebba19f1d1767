"""The lines of a rejects file, and how much of it the rows of one input may take.

A few hundred bytes of Parquet or deflated numbers can hold thousands of large rows, and each of them may be bad.
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
"""In bytes. A row with everything that it may have needs less: 512 numbers, 1,024 video features and 100 interests."""
LONGEST_USER_ID = 100
LONGEST_TEXT = 1000
"""In characters: of a row that is no object."""
ROOM, ROOM_FOR_A_BYTE = 16 << 20, 16
"""In bytes, for whole rows: for any input, and for each byte of it. The JSON of 16-bit numbers has about 9 times their size."""
MORE_ROOM, MORE_ROOM_FOR_A_BYTE = 64 << 20, 64
"""In bytes, for shortened rows after that. One has about 300 bytes, and different ids need 16 bytes each in any file."""


class Kept(Enum):
    """What the file has of a rejected row."""

    WHOLE = auto()
    SHORTENED = auto()
    OMITTED = auto()


@dataclass(slots=True)
class _Room:
    """Bytes that are left for an input."""

    whole: float = math.inf
    shortened: float = math.inf


class RejectedLines:
    """Makes the lines. ``sizes`` has the bytes of each input by its name. An input without a size (a pipe) has no limit but that of a line:
    it is JSON Lines, whose bytes are those of its rows."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self._rooms = {name: _Room(ROOM + ROOM_FOR_A_BYTE * size, MORE_ROOM + MORE_ROOM_FOR_A_BYTE * size) for name, size in sizes.items()}

    def line(self, rejection: Rejection) -> tuple[bytes, Kept]:
        """Return the line, and what it has of the row. It is empty for a row that is left out, but for the first, where it says so."""
        room = self._rooms.setdefault(rejection.file, _Room())
        if not room.shortened:
            return b"", Kept.OMITTED
        row = rejection.original()
        whole = _line(rejection, row)
        if len(whole) <= LONGEST_LINE:
            if len(whole) <= room.whole:
                room.whole -= len(whole)
                return whole, Kept.WHOLE
            room.whole = 0  # also for smaller rows after this one
        brief = _line(rejection, _shortened(row))
        line, kept = (brief, Kept.SHORTENED) if len(brief) < len(whole) else (whole, Kept.WHOLE)
        if len(line) <= room.shortened:
            room.shortened -= len(line)
            return line, kept
        room.shortened = 0
        return _line(rejection, {"omitted": "this row and every later one of this input"}), Kept.OMITTED


def is_rejection(line: bytes) -> bool:
    """Whether it is a line of a rejects file."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(fields, dict) and set(fields) == set(FIELDS)


def _line(rejection: Rejection, row: object) -> bytes:
    values = (rejection.file, rejection.line, rejection.reason, row)
    return json.dumps(dict(zip(FIELDS, values, strict=True))).encode() + b"\n"


def _shortened(row: object) -> dict[str, object]:
    """Return what tells the row from others. Its field ``shortened`` keeps it from being loaded by mistake: no row may have it."""
    if not isinstance(row, dict):
        return {"shortened": True, "text": (row if isinstance(row, str) else json.dumps(row))[:LONGEST_TEXT]}
    if "user_id" not in row:
        return {"shortened": True}
    user_id = row["user_id"]
    return {"shortened": True, "user_id": user_id[:LONGEST_USER_ID] if isinstance(user_id, str) else truncated_repr(user_id)}
