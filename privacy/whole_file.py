"""A file that is there when it is whole, and not before."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from findme.console.errors import NotDone


@contextmanager
def whole_file(path: Path, *, force: bool) -> Iterator[BinaryIO]:
    """Write ``.NAME.part`` beside PATH, mode 0600 from the start, and give it its name when the block has ended without an error.

    Without FORCE an existing file is never replaced, not even one that appears while the block runs; with it, only an ordinary file is.
    What a killed process left aside goes with the next call for the same PATH. Raises NotDone for a path that cannot be used, a full disk,
    and another process that is writing the same file; OSError, with its file name, for what else the system refuses.
    """
    require_writable(path, force=force)
    aside = path.with_name(f".{path.name}.part")
    with os.fdopen(_open_aside(aside, path), "wb") as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            _give_its_name(aside, path, force=force)
        except BaseException as error:
            aside.unlink(missing_ok=True)  # still under the lock: nobody else's
            if isinstance(error, OSError) and error.filename is None:
                raise NotDone(
                    f"{str(path)!r} cannot be written: {error.strerror or error}. Make room, or name a file elsewhere."
                ) from error
            raise
    _sync_folder(path.parent)


def require_writable(path: Path, *, force: bool) -> None:
    """Raises NotDone for a path that ``whole_file`` would refuse."""
    if not path.parent.is_dir():
        raise NotDone(f"There is no folder {str(path.parent)!r}: make it first, or name a file elsewhere.")
    if path.is_dir():
        raise NotDone(f"{str(path)!r} is a folder: name a file in it.")
    if not os.path.lexists(path):
        return
    if not force:
        raise _exists(path)
    if not stat.S_ISREG(path.lstat().st_mode):
        raise NotDone(f"{str(path)!r} is not an ordinary file, and is not replaced, by --force neither: name another one.")


def _exists(path: Path) -> NotDone:
    return NotDone(f"{str(path)!r} exists, and is not replaced without --force. Name another file, or add --force.")


def _open_aside(aside: Path, path: Path) -> int:
    """A descriptor of a new file ASIDE, of mode 0600 whatever the umask is, locked until it is closed."""
    while True:
        try:
            descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            _clear_away(aside, path)
            continue
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if _is_still(descriptor, aside):
            os.fchmod(descriptor, 0o600)
            return descriptor
        os.close(descriptor)  # another process took it for a dead one's between the two steps


def _clear_away(aside: Path, path: Path) -> None:
    """Delete what a dead process left. A living one holds a lock on it."""
    try:
        descriptor = os.open(aside, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_still(descriptor, aside):
            aside.unlink()
    except BlockingIOError:
        raise NotDone(f"Another process is writing {str(path)!r}: wait for it, or name another file.") from None
    finally:
        os.close(descriptor)


def _is_still(descriptor: int, aside: Path) -> bool:
    """Whether the file that is locked is the one that bears the name."""
    try:
        return os.path.samestat(os.fstat(descriptor), aside.lstat())
    except FileNotFoundError:
        return False


def _give_its_name(aside: Path, path: Path, *, force: bool) -> None:
    if force:
        aside.replace(path)
        return
    try:
        os.link(aside, path, follow_symlinks=False)  # a rename would replace a file that has appeared meanwhile
    except FileExistsError:
        raise _exists(path) from None
    except OSError as error:
        raise NotDone(
            f"{str(path)!r}: without hard links in this file system, a new file cannot be kept from replacing another one"
            f" ({error.strerror}). Name a file elsewhere, or add --force."
        ) from error
    aside.unlink()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
