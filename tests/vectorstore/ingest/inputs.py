"""Input files for tests of loading."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from findme.core.errors import UserFacingError
from vectorstore.ingest.formats.input_file import opened
from vectorstore.ingest.formats.parquet import decoder
from vectorstore.ingest.formats.parquet.decoder import Frame


def ones(number: float = 1.0) -> list[float]:
    """Return a vector whose elements all are ``number``."""
    return [number] * 512


def row(user_id: UUID, **fields: Any) -> dict[str, Any]:
    return {"user_id": str(user_id), **fields}


def json_lines(path: Path, rows: Iterable[object]) -> str:
    """Write a JSON Lines file and return its path. A string is a line as it is, any other row is written as JSON."""
    with path.open("w", encoding="utf-8") as stream:
        for content in rows:
            stream.write(content if isinstance(content, str) else json.dumps(content))
            stream.write("\n")
    return str(path)


def frames_in_process(path: Path, rows_at_a_time: int, skip: int) -> Iterator[Frame]:
    """Yield what the decoder's process would send."""
    with opened(path) as stream:
        yield from decoder.frames(stream, rows_at_a_time=rows_at_a_time, skip=skip)


@contextmanager
def open_pipe(path: Path) -> Iterator[Path]:
    """Create a pipe with a writer that never writes, so that opening it does not wait."""
    os.mkfifo(path)
    writer = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    try:
        yield path
    finally:
        os.close(writer)


def file_error(read: Callable[[Path], object], path: Path) -> str:
    """Return the error of a file that cannot be loaded: one line, with ``FILE`` for the path."""
    with pytest.raises(UserFacingError) as raised:
        read(path)
    assert "\n" not in str(raised.value)
    return str(raised.value).replace(repr(str(path)), "FILE")


def numbered_ids(count: int) -> list[str]:
    return [str(UUID(int=number + 1)) for number in range(count)]
