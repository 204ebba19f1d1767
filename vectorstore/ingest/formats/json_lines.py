"""JSON Lines: one object a line, as https://jsonlines.org has it."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import BinaryIO

from vectorstore.ingest.formats.input_file import no_rows, opened_text, reading
from vectorstore.ingest.rows import BadRow, Entry, Kind, Rejection, entry
from vectorstore.projection.validation import truncated_repr

LONGEST_LINE = 1 << 20
"""In bytes. A line of 512 numbers has about 10,000."""
KEPT_OF_A_LONG_LINE = 1000
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class _RepeatedField(ValueError):
    pass


def check_json_lines(path: Path) -> None:
    """Raises UserFacingError unless the file is there, may be read and is not empty; a pipe is left untouched. How many rows there are is
    not known."""
    with reading(str(path)):
        status = path.stat()
    if stat.S_ISREG(status.st_mode) and not status.st_size:
        raise no_rows(str(path))
    if not stat.S_ISFIFO(status.st_mode):
        with opened_text(path):
            pass


def read_json_lines(path: Path, name: str) -> Iterator[Entry]:
    """The rows of the file. Raises UserFacingError where it cannot be read."""
    with opened_text(path) as stream:
        yield from rows_of(stream, name)


def rows_of(stream: BinaryIO, name: str) -> Iterator[Entry]:
    """The rows of an open stream, which the messages call NAME; blank lines are passed over. Raises UserFacingError where it cannot be
    read."""
    with reading(name):
        for number, line in enumerate(_lines(stream), 1):
            if len(line) > LONGEST_LINE:
                reason = f"the line is longer than {LONGEST_LINE:,} bytes"
                yield Rejection(name, number, Kind.TOO_LONG, reason, partial(_text, line[:KEPT_OF_A_LONG_LINE]))
                continue
            row = (line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line).strip()
            if row:
                yield entry(name, number, partial(_object, row), partial(as_given, row), len(row))


def as_given(line: bytes) -> object:
    """What a rejected line holds: its value where it is JSON that can be written again, and its text where it is not."""
    try:
        value = _parsed(line)
        json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError):
        return _text(line)
    return value


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    """Lines with their ends; of one that is too long, the beginning, in one byte more than is allowed."""
    while line := stream.readline(LONGEST_LINE + 1):
        yield line
        while len(line) > LONGEST_LINE and not line.endswith(b"\n"):
            line = stream.readline(LONGEST_LINE + 1)


def _object(line: bytes) -> Mapping[str, object]:
    try:
        value = _parsed(line)
    except _RepeatedField as error:
        raise BadRow(Kind.REPEATED_FIELD, str(error)) from None
    except UnicodeDecodeError as error:
        raise BadRow(Kind.NOT_JSON, f"not UTF-8: byte {error.start + 1} of the line is 0x{line[error.start]:02x}") from None
    except json.JSONDecodeError as error:
        raise BadRow(Kind.NOT_JSON, f"not JSON: {error.msg} at character {error.pos + 1}") from None
    except (ValueError, RecursionError):
        raise BadRow(Kind.NOT_JSON, "not JSON that can be read: too deep, or a number of too many digits") from None
    if not isinstance(value, dict):
        raise BadRow(Kind.NOT_AN_OBJECT, "not an object: a row is {...}")
    return value


def _parsed(line: bytes) -> object:
    return json.loads(line.decode(), object_pairs_hook=_without_repetition)


def _without_repetition(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in pairs:
        if name in found:
            raise _RepeatedField(f"the field {truncated_repr(name)} stands twice")
        found[name] = value
    return found


def _text(line: bytes) -> str:
    return line.decode(errors="backslashreplace")
