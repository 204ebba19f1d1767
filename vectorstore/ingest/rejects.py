"""Write the rejects file: every bad row with its line and reason, as JSON Lines, readable only by its owner."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeAlias

from findme.core.errors import UserFacingError
from findme.core.files import growing_file
from vectorstore.ingest.rejected_lines import RejectedLines, Written, is_rejection
from vectorstore.ingest.rows import Rejection

READ_SIZE = 1 << 20
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


@dataclass(frozen=True, slots=True)
class Extent:
    """The beginning of a file: its size in bytes, and the SHA-256 of its content."""

    size: int
    digest: str


class RejectsFile:
    """A rejects file that an interrupted run leaves to the next one. What was written to it is known after each rejection."""

    def __init__(self, stream: BinaryIO, path: Path, size: int, digest: hashlib._Hash) -> None:
        self._stream, self._lines, self._path = stream, RejectedLines({}), path
        self._size, self._digest = size, digest

    def write(self, rejection: Rejection) -> Written:
        line, written = self._lines.line(rejection)
        with _writing(self._path):
            _write_all(self._stream, line)
        self._size += len(line)
        self._digest.update(line)
        return written

    @property
    def extent(self) -> Extent:
        """Return what the file has, for ``can_continue``."""
        return Extent(self._size, self._digest.hexdigest())

    def undo(self) -> Callable[[], None]:
        """Return a function that removes all that is written from now on."""
        size, digest = self._size, self._digest.copy()

        def cut() -> None:
            if size == self._size:
                return
            with _writing(self._path):
                self._stream.truncate(size)
                self._stream.seek(size)
            self._size, self._digest = size, digest.copy()

        return cut


def require_rejects_file(path: Path) -> None:
    """Raise UserFacingError if ``new_rejects_file`` would, before anything else is done."""
    with _writing(path):
        _require_replaceable(path, ())
        if not path.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


@contextmanager
def new_rejects_file(path: Path) -> Iterator[RejectsFile]:
    """Yield a new rejects file, which replaces an existing one as ``rejects_file`` does. Raises UserFacingError."""
    with ExitStack() as stack:
        with _writing(path):
            _require_replaceable(path, ())
            stream = stack.enter_context(growing_file(path, force=True))
        yield RejectsFile(stream, path, 0, hashlib.sha256())


@contextmanager
def continued_rejects_file(path: Path, extent: Extent) -> Iterator[RejectsFile]:
    """Yield an existing rejects file, cut to ``extent``. ``can_continue`` has returned True. Raises UserFacingError."""
    with ExitStack() as stack:
        with _writing(path):
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            stream = stack.enter_context(os.fdopen(descriptor, "r+b", buffering=0))
            digest = _digest_at_beginning(stream, extent.size) if _may_be_replaced(stream, ()) else hashlib.sha256()
            if digest.hexdigest() != extent.digest:
                raise _not_a_rejects_file(path)
            stream.truncate(extent.size)
            stream.seek(extent.size)
        yield RejectsFile(stream, path, extent.size, digest)


def can_continue(path: Path, extent: Extent) -> bool:
    """Return whether ``path`` is a rejects file of this account that begins with ``extent``.

    Another run, such as a dry run, may have replaced it, and the operator may have edited it.
    """
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            return _may_be_replaced(stream, ()) and _digest_at_beginning(stream, extent.size).hexdigest() == extent.digest
    except OSError:
        return False


def _digest_at_beginning(stream: BinaryIO, size: int) -> hashlib._Hash:
    """Return the SHA-256 of the first ``size`` bytes, or of the whole file if it is shorter."""
    digest = hashlib.sha256()
    stream.seek(0)
    while size and (read := stream.read(min(size, READ_SIZE))):
        digest.update(read)
        size -= len(read)
    return digest


def _drop(_: Rejection) -> Written:
    """Write nothing, because the run has no rejects file."""
    return Written.WHOLE


def _write(stream: BinaryIO, lines: RejectedLines, path: Path, rejection: Rejection) -> Written:
    line, written = lines.line(rejection)
    with _writing(path):
        _write_all(stream, line)
    return written


def _write_all(stream: BinaryIO, line: bytes) -> None:
    """Write the line to an unbuffered file. With little room on the disk, the system writes a part of it before it reports the error."""
    rest = memoryview(line)
    while rest:
        rest = rest[stream.write(rest) :]


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
