"""Start the ``decoder`` process and read its frames."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pyarrow as pa

from findme.core.errors import UserFacingError, one_line
from vectorstore.ingest.formats.input_file import opened_file
from vectorstore.ingest.formats.parquet import decoder
from vectorstore.ingest.formats.parquet.answers import Answers
from vectorstore.ingest.formats.parquet.decoder import (
    BATCH,
    END,
    ERROR,
    HEADER,
    LARGEST_SCHEMA,
    LONGEST_ROW,
    MEMORY_LIMIT,
    NO_MEMORY,
    ROWS,
    SKIPPED,
    STARTED,
    SUMMARY,
    Frame,
)

ROWS_AT_A_TIME = 256
LARGEST_FRAME = LONGEST_ROW + LARGEST_SCHEMA
ENVIRONMENT = {
    # The other pools reserve gigabytes of address space, which the memory limit counts.
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


@dataclass(frozen=True, slots=True)
class Summary:
    rows: int
    schema: pa.Schema


@dataclass(frozen=True, slots=True)
class LongRow:
    """A row longer than ``LONGEST_ROW``. Only its ``user_id`` is decoded, if that is short."""

    user_id: pa.RecordBatch


class _EndedEarly(Exception):
    """The process ended without the last frame: it hit the memory limit or crashed."""


def summary_of(path: Path) -> Summary:
    """Return the number of rows and the columns. Raises UserFacingError."""
    try:
        (summary,) = _answers(path, rows_at_a_time=0, skip=0)
    except _EndedEarly:
        raise _undecodable(path, "its list of columns") from None
    assert isinstance(summary, Summary)
    return summary


def batches_of(path: Path) -> Iterator[Summary | pa.RecordBatch | LongRow]:
    """Yield the summary, then the rows. Raises UserFacingError.

    A batch of rows can exceed the memory limit, although each row is within its limit. In that case the rest is decoded row by row.
    """
    delivered = 0
    try:
        for answer in _answers(path, rows_at_a_time=ROWS_AT_A_TIME, skip=0):
            yield answer
            delivered += _rows(answer)
    except _EndedEarly:
        pass
    else:
        return
    try:
        for answer in _answers(path, rows_at_a_time=1, skip=delivered):
            if not isinstance(answer, Summary):
                yield answer
            delivered += _rows(answer)
    except _EndedEarly:
        raise _undecodable(path, f"row {delivered + 1:,}") from None


def _rows(answer: Summary | pa.RecordBatch | LongRow) -> int:
    match answer:
        case Summary():
            return 0
        case LongRow():
            return 1
    return answer.num_rows


def _undecodable(path: Path, what: str) -> UserFacingError:
    return UserFacingError(
        f"{str(path)!r} is damaged, or {what} needs more than {MEMORY_LIMIT >> 20} MiB. Write it again with smaller row groups and pages."
    )


def _answers(path: Path, *, rows_at_a_time: int, skip: int) -> Iterator[Summary | pa.RecordBatch | LongRow]:
    """Yield the decoded frames. Raises _EndedEarly, and UserFacingError if the process reports a damaged file."""
    for tag, content in frames_of(path, rows_at_a_time, skip):
        if tag == END:
            return
        if tag == SUMMARY:
            (rows,) = ROWS.unpack(content[: ROWS.size])
            yield Summary(rows, pa.ipc.read_schema(pa.py_buffer(content[ROWS.size :])))
        elif tag == SKIPPED:
            continue
        elif tag == NO_MEMORY:
            break
        elif tag == ERROR:
            words = one_line(ValueError(content.decode(errors="replace")))
            raise UserFacingError(f"{str(path)!r} is damaged or not a Parquet file: {words}")
        else:
            with pa.ipc.open_stream(content) as reader:
                batch = reader.read_next_batch()
            yield batch if tag == BATCH else LongRow(batch)
    raise _EndedEarly


def frames_of(path: Path, rows_at_a_time: int, skip: int) -> Iterator[Frame]:
    """Start a process and yield its frames until it ends. Raises UserFacingError if it cannot start or sends nothing for too long."""
    command = [sys.executable, "-P", "-m", decoder.__name__, str(rows_at_a_time), str(skip)]
    with opened_file(path) as stream, _started(command, stream) as process:
        assert process.stdout is not None
        answers = io.BufferedReader(Answers(process.stdout, path))
        try:
            if _frame(answers) != (STARTED, b""):
                # Close the pipe, so that the process cannot wait for a reader.
                process.stdout.close()
                raise _not_started(f"it ended with code {process.wait()}")
            while frame := _frame(answers):
                yield frame
        finally:
            process.kill()


def _started(command: list[str], stream: IO[bytes]) -> subprocess.Popen[bytes]:
    # With python -c, an empty entry of sys.path means the current folder.
    python_path = {"PYTHONPATH": os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)}
    try:
        return subprocess.Popen(  # noqa: S603  # our own program
            command, bufsize=0, stdin=stream, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=os.environ | ENVIRONMENT | python_path
        )
    except OSError as error:
        raise _not_started(error.strerror or str(error)) from error


def _not_started(reason: str) -> UserFacingError:
    """Return the error for a process that cannot start. The cause is missing memory or a limit on processes, not the file."""
    return UserFacingError(
        f"The process that decodes Parquet cannot start: {reason}. Free memory or end other processes, then run the command again."
    )


def _frame(stream: IO[bytes]) -> Frame | None:
    """Return the next frame, or None if the process has ended."""
    header = stream.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    tag, length = HEADER.unpack(header)
    if length > LARGEST_FRAME:
        return None
    content = stream.read(length)
    return (tag, content) if len(content) == length else None
