"""Write the rejects file: every bad row with its line and reason, as JSON Lines, readable only by its owner."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeAlias

from findme.core.errors import UserFacingError
from findme.core.files import growing_file
from vectorstore.ingest.rejected_lines import RejectedLines, Written, is_rejection
from vectorstore.ingest.rows import Rejection

LONGEST_BEGINNING = 1 << 16
"""Bytes read of the first line of an existing file. The part before ``row`` is shorter, even with a path of 4,096 escaped bytes."""
_TEXT = rb'"[^"\\\n]*+(?:\\.[^"\\\n]*+)*+"'
BEGINNING = re.compile(rb'\{"file": ' + _TEXT + rb', "line": [0-9]+, "reason": ' + _TEXT + rb', "row": ')

Write: TypeAlias = Callable[[Rejection], Written]
"""Write a rejection, and return how much of the row the file has."""


@contextmanager
def rejects_file(path: Path | None, inputs: Iterable[Path], sizes: Mapping[str, int] | None = None) -> Iterator[Write]:
    """Yield a function that writes a complete rejection to the file immediately. Without ``path``, it does nothing.

    The file is new and has mode 0600. It replaces an existing file if that is empty, or the rejects file of an earlier run of this account. Raises
    UserFacingError for any other existing file, a link, one of ``inputs``, and a file that cannot be written. ``sizes``: see ``RejectedLines``.
    """
    if path is None:
        yield _drop
        return
    with ExitStack() as stack:
        with _writing(path):
            _require_replaceable(path, inputs)
            stream = stack.enter_context(growing_file(path, force=True))
        yield partial(_write, stream, RejectedLines(sizes or {}), path)


class RejectsFile:
    """A rejects file that an interrupted run leaves to the next one. Its ``size`` in bytes is known after each rejection."""

    def __init__(self, stream: BinaryIO, path: Path, size: int) -> None:
        self._stream, self._lines, self._path = stream, RejectedLines({}), path
        self.size = size

    def write(self, rejection: Rejection) -> Written:
        line, written = self._lines.line(rejection)
        with _writing(self._path):
            self._stream.write(line)
        self.size += len(line)
        return written

    def cut(self, size: int) -> None:
        """Remove what was written after the first ``size`` bytes."""
        if size != self.size:
            with _writing(self._path):
                self._stream.truncate(size)
                self._stream.seek(size)
            self.size = size


@contextmanager
def new_rejects_file(path: Path) -> Iterator[RejectsFile]:
    """Yield a new rejects file, which replaces an existing one as ``rejects_file`` does. Raises UserFacingError."""
    with ExitStack() as stack:
        with _writing(path):
            _require_replaceable(path, ())
            stream = stack.enter_context(growing_file(path, force=True))
        yield RejectsFile(stream, path, 0)


@contextmanager
def continued_rejects_file(path: Path, size: int) -> Iterator[RejectsFile]:
    """Yield an existing rejects file, cut to its first ``size`` bytes. ``can_continue`` has returned True. Raises UserFacingError."""
    with ExitStack() as stack:
        with _writing(path):
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            stream = stack.enter_context(os.fdopen(descriptor, "r+b", buffering=0))
            if not _may_be_replaced(stream, ()):
                raise _not_a_rejects_file(path)
            stream.truncate(size)
            stream.seek(size)
        yield RejectsFile(stream, path, size)


def can_continue(path: Path, size: int) -> bool:
    """Return whether ``path`` is a rejects file of this account with at least ``size`` bytes."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            return _may_be_replaced(stream, ()) and os.fstat(stream.fileno()).st_size >= size
    except OSError:
        return False


def _drop(_: Rejection) -> Written:
    """Write nothing, because the run has no rejects file."""
    return Written.WHOLE


def _write(stream: BinaryIO, lines: RejectedLines, path: Path, rejection: Rejection) -> Written:
    line, written = lines.line(rejection)
    with _writing(path):
        stream.write(line)
    return written


def _require_replaceable(path: Path, inputs: Iterable[Path]) -> None:
    """Raise UserFacingError for a file that must not be replaced. The check uses the open file and follows no link."""
    try:
        if stat.S_ISREG(path.lstat().st_mode):
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
                if _may_be_replaced(stream, inputs):
                    return
    except FileNotFoundError:
        return
    raise _not_a_rejects_file(path)


def _not_a_rejects_file(path: Path) -> UserFacingError:
    return UserFacingError(f"{str(path)!r} exists and is not a rejects file of an earlier run. Name another file, or move it.")


def _may_be_replaced(stream: BinaryIO, inputs: Iterable[Path]) -> bool:
    found = os.fstat(stream.fileno())
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
        return False
    if any(os.path.samestat(found, other.stat()) for other in inputs if other.exists()):
        return False
    first = stream.readline(LONGEST_BEGINNING)
    if len(first) == LONGEST_BEGINNING:
        return BEGINNING.match(first) is not None
    return not first or is_rejection(first)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserFacingError(f"The rejects file {str(path)!r} cannot be written: {error.strerror or error}.") from error
