"""Read JSON Lines: one object per line, see https://jsonlines.org."""

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
SHOWN_OF_LONG_LINE = 1000
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class _RepeatedField(ValueError):
    pass


def check_json_lines(path: Path) -> None:
    """Raise UserFacingError if the file is missing, empty or not readable. A pipe is not opened.

    Returns None, because the format does not store the number of rows.
    """
    with reading(str(path)):
        status = path.stat()
    if stat.S_ISREG(status.st_mode) and not status.st_size:
        raise no_rows(str(path))
    if not stat.S_ISFIFO(status.st_mode):
        with opened_text(path):
            pass


def read_json_lines(path: Path, name: str) -> Iterator[Entry]:
    """Yield the rows of the file. Raises UserFacingError if it cannot be read."""
    with opened_text(path) as stream:
        yield from rows_of(stream, name)


def rows_of(stream: BinaryIO, name: str) -> Iterator[Entry]:
    """Yield the rows of an open stream, without blank lines. Raises UserFacingError if it cannot be read.

    Messages call the stream ``name``.
    """
    with reading(name):
        for number, line in enumerate(_lines(stream), 1):
            if len(line) > LONGEST_LINE:
                reason = f"the line is longer than {LONGEST_LINE:,} bytes"
                yield Rejection(name, number, Kind.TOO_LONG, reason, partial(_text, line[:SHOWN_OF_LONG_LINE]))
                continue
            row = (line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line).strip()
            if row:
                yield entry(name, number, partial(_object, row), partial(as_given, row), len(row))


def as_given(line: bytes) -> object:
    """Return the value of a rejected line if it is JSON that can be written again, else its text."""
    try:
        value = _parsed(line)
        json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError):
        return _text(line)
    return value


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the lines with their line ends. A line that is too long is cut to one byte more than the limit."""
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
        raise BadRow(Kind.NOT_JSON, "JSON that cannot be read: it is nested too deeply, or a number has too many digits") from None
    if not isinstance(value, dict):
        raise BadRow(Kind.NOT_AN_OBJECT, "not an object: a row is {...}")
    return value


def _parsed(line: bytes) -> object:
    return json.loads(line.decode(), object_pairs_hook=_without_repetition)


def _without_repetition(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in pairs:
        if name in found:
            raise _RepeatedField(f"the field {truncated_repr(name)} is repeated")
        found[name] = value
    return found


def _text(line: bytes) -> str:
    return line.decode(errors="backslashreplace")
