"""Choose the reader of each input by its file name, and check that it can be read before anything is loaded."""

from __future__ import annotations

import stat
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

from findme.core.errors import UserFacingError
from vectorstore.ingest.formats.input_file import reading
from vectorstore.ingest.formats.json_lines import check_json_lines, read_json_lines, rows_of
from vectorstore.ingest.formats.npz import check_npz, read_npz
from vectorstore.ingest.formats.parquet.reader import check_parquet, read_parquet
from vectorstore.ingest.rows import Entry

STANDARD_INPUT = "-"

Format: TypeAlias = tuple[Callable[[Path], int | None], Callable[[Path, str], Iterator[Entry]]]

FORMATS: Mapping[str, Format] = {
    ".jsonl": (check_json_lines, read_json_lines),
    ".ndjson": (check_json_lines, read_json_lines),
    ".npz": (check_npz, read_npz),
    ".parquet": (check_parquet, read_parquet),
}


@dataclass(frozen=True, slots=True)
class Source:
    """One input. ``name`` is the name as given. ``rows`` is the number of rows, None if the format does not store it."""

    name: str
    rows: int | None
    entries: Callable[[], Iterator[Entry]]


def sources(files: Sequence[str]) -> list[Source]:
    """Return the checked inputs. Raises UserFacingError for the first one that cannot be read."""
    if list(files).count(STANDARD_INPUT) > 1:
        raise UserFacingError("Standard input, '-', can be read only once. Name '-' once.")
    return [_source(file) for file in files]


def total(inputs: Sequence[Source]) -> int | None:
    """Return the number of rows of all inputs, or None if it is unknown for one of them."""
    counts = [source.rows for source in inputs if source.rows is not None]
    return sum(counts) if len(counts) == len(inputs) else None


def paths(files: Sequence[str]) -> list[Path]:
    """Return the inputs that are files."""
    return [Path(file) for file in files if file != STANDARD_INPUT]


def sizes(files: Sequence[str]) -> dict[str, int]:
    """Return the size of each ordinary file in bytes, summed if it is named twice. Raises UserFacingError if a file is gone."""
    found: dict[str, int] = {}
    for file in files:
        if file != STANDARD_INPUT:
            with reading(file):
                status = Path(file).stat()
            if stat.S_ISREG(status.st_mode):
                found[file] = found.get(file, 0) + status.st_size
    return found


def _source(file: str) -> Source:
    if file == STANDARD_INPUT:
        if sys.stdin is None:
            raise UserFacingError("Standard input, '-', is closed. Redirect a file to it, or name a file.")
        return Source(file, None, lambda: rows_of(sys.stdin.buffer, file))
    path = Path(file)
    if path.suffix.lower() not in FORMATS:
        raise UserFacingError(
            f"{file!r} does not end in one of {', '.join(FORMATS)}, which tells the format. Rename it, or send JSON Lines to standard input, '-'."
        )
    check, read = FORMATS[path.suffix.lower()]
    return Source(file, check(path), partial(read, path, file))
