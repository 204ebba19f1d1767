"""The rejects file: every bad row with its place and the reason, as JSON Lines, for the eyes of its owner only."""

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
from vectorstore.ingest.rejected_lines import Kept, RejectedLines, is_rejection
from vectorstore.ingest.rows import Rejection

LONGEST_BEGINNING = 1 << 16
"""In bytes: of the first line of an existing file. What stands before ``row`` is shorter, also with a path of 4,096 bytes that are all escaped."""
_TEXT = rb'"[^"\\\n]*+(?:\\.[^"\\\n]*+)*+"'
BEGINNING = re.compile(rb'\{"file": ' + _TEXT + rb', "line": [0-9]+, "reason": ' + _TEXT + rb', "row": ')

Write: TypeAlias = Callable[[Rejection], Kept]
"""It returns what the file has of the row."""


@contextmanager
def rejects_file(path: Path | None, inputs: Iterable[Path], sizes: Mapping[str, int] | None = None) -> Iterator[Write]:
    """Yields what writes a rejection to the file, at once and whole; without a PATH, what drops it.

    The file is a new one of mode 0600. It replaces one that is there if that is the rejects file of an earlier run of this account, or empty.
    Raises UserFacingError for any other, a link, one of ``inputs``, and a file that cannot be written. ``sizes`` as in ``RejectedLines``.
    """
    if path is None:
        yield _drop
        return
    with ExitStack() as stack:
        with _writing(path):
            _refuse_other_files(path, inputs)
            stream = stack.enter_context(growing_file(path, force=True))
        yield partial(_write, stream, RejectedLines(sizes or {}), path)


def _drop(_: Rejection) -> Kept:
    """Nobody asked for the rejects."""
    return Kept.WHOLE


def _write(stream: BinaryIO, lines: RejectedLines, path: Path, rejection: Rejection) -> Kept:
    line, kept = lines.line(rejection)
    with _writing(path):
        stream.write(line)
    return kept


def _refuse_other_files(path: Path, inputs: Iterable[Path]) -> None:
    """Raise UserFacingError for a file that must not be replaced. The open file is checked, and no link is followed to it."""
    try:
        if stat.S_ISREG(path.lstat().st_mode):
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
                if _may_be_replaced(stream, inputs):
                    return
    except FileNotFoundError:
        return
    raise UserFacingError(f"{str(path)!r} is there and is no rejects file of an earlier run: name another one, or move it away.")


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
