"""The rejects file: every bad row with its place and the reason, as JSON Lines, for the eyes of its owner only."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeAlias

from findme.console.errors import NotDone
from vectorstore.ingest.rows import Rejection

FIELDS = {"file", "line", "reason", "row"}

Write: TypeAlias = Callable[[Rejection], None]


@contextmanager
def rejects_file(path: Path | None, inputs: Iterable[Path]) -> Iterator[Write]:
    """Yields what writes a rejection to the file, at once and whole; without a PATH, what drops it.

    The file is made with mode 0600. One that is there is begun anew if it is the rejects file of an earlier run, or empty. Raises NotDone for
    any other, for one of the INPUTS, and where it cannot be written.
    """
    if path is None:
        yield _drop
        return
    with _writing(path):
        stream = _begun(path, inputs)
    with stream:
        yield lambda rejection: _write(stream, rejection, path)


def _drop(_: Rejection) -> None:
    """Nobody asked for the rejects."""


def _write(stream: BinaryIO, rejection: Rejection, path: Path) -> None:
    fields = {"file": rejection.file, "line": rejection.line, "reason": rejection.reason, "row": rejection.original()}
    with _writing(path):
        stream.write(json.dumps(fields).encode() + b"\n")


def _begun(path: Path, inputs: Iterable[Path]) -> BinaryIO:
    if path.exists() and not _may_be_replaced(path, inputs):
        raise NotDone(f"{str(path)!r} is there and is no rejects file of an earlier run: name another one, or move it away.")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    stream = os.fdopen(descriptor, "wb", buffering=0)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.fchmod(descriptor, 0o600)
        os.ftruncate(descriptor, 0)
    return stream


def _may_be_replaced(path: Path, inputs: Iterable[Path]) -> bool:
    if any(path.samefile(other) for other in inputs if other.exists()):
        return False
    if not path.is_file():
        return not path.is_dir()
    with path.open("rb") as stream:
        first = stream.readline()
    return not first or _is_rejection(first)


def _is_rejection(line: bytes) -> bool:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(fields, dict) and set(fields) == FIELDS


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise NotDone(f"The rejects file {str(path)!r} cannot be written: {error.strerror or error}.") from error
