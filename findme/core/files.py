"""Write files with personal data: mode 0600, always a new file.

Nothing is written through a link, or into a file that another account may have open.
A file gets its name when it is complete. Before that it has no name (``O_TMPFILE``), so a killed process leaves no file.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from findme.core.errors import UserFacingError

ATTEMPTS = 100
"""How often the existing file is removed while other processes create it again."""
NO_UNNAMED_FILES = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT})
"""Error numbers of file systems and kernels without ``O_TMPFILE``."""


@contextmanager
def atomic_write(path: Path, *, force: bool) -> Iterator[BinaryIO]:
    """Yield a file without a name, mode 0600, and name it ``path`` when the block ends without an error.

    Without ``force``, an existing file is never replaced, not even one that appears while the block runs. With ``force``, an ordinary file of this
    account is replaced, and only when the block ends. A killed process leaves the old file, no file, or the complete new file.
    A file system without unnamed files (NFS, FAT) needs a copy to ``path`` at the end. A process that is killed during the copy leaves a part of it.

    Raises UserFacingError for an unusable path and for a full disk. Raises OSError with its file name for other errors.
    """
    require_writable(path, force=force)
    with _opened(path.parent) as folder, unnamed_file(path.parent) as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            _name(file, path, folder, force=force)
        except OSError as error:
            if error.filename is not None:
                raise
            raise UserFacingError(
                f"{str(path)!r} cannot be written: {error.strerror or error}. Make room, or name a file elsewhere."
            ) from error
        os.fsync(folder)


@contextmanager
def growing_file(path: Path, *, force: bool) -> Iterator[BinaryIO]:
    """Yield a new unbuffered file ``path``, mode 0600, that other programs can read while it grows.

    After an error the file keeps what was written. ``force`` means the same as in ``atomic_write``.
    Raises UserFacingError for an existing file that is not replaced, and OSError.
    """
    with _opened(path.parent) as folder:
        descriptor = _make(path, folder, force=force, make=lambda: _create(path.name, folder))
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        yield file


def unnamed_file(folder: Path) -> BinaryIO:
    """Open a new file without a name in ``folder`` for reading and writing.

    Its mode is 0600, whatever the umask is. The file system deletes it on close if it has no name by then.
    """
    descriptor = _unnamed(folder)
    os.fchmod(descriptor, 0o600)
    return os.fdopen(descriptor, "w+b")


def require_writable(path: Path, *, force: bool) -> None:
    """Raise UserFacingError if ``atomic_write`` cannot write ``path``, and OSError for a system error."""
    if not path.parent.is_dir():
        raise UserFacingError(f"There is no folder {str(path.parent)!r}. Create it first, or name a file elsewhere.")
    if path.is_dir():
        raise UserFacingError(f"{str(path)!r} is a folder. Name a file in it.")
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not force:
        raise _exists(path)
    _require_replaceable(path, found)


def _require_replaceable(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise UserFacingError(f"{str(path)!r} is not an ordinary file and is never replaced, not even with --force. Name another file.")
    if found.st_uid != os.geteuid():
        raise UserFacingError(f"{str(path)!r} belongs to another account and is never replaced, not even with --force. Name another file.")


def _exists(path: Path) -> UserFacingError:
    return UserFacingError(f"{str(path)!r} exists, and is not replaced without --force. Name another file, or add --force.")


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _unnamed(folder: Path) -> int:
    try:
        return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except AttributeError:  # macOS
        pass
    except OSError as error:
        if error.errno not in NO_UNNAMED_FILES:
            raise
    path = folder / f".findme-{secrets.token_hex(8)}"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    path.unlink()
    return descriptor


def _name(file: BinaryIO, path: Path, folder: int, *, force: bool) -> None:
    try:
        _make(path, folder, force=force, make=lambda: _link(file.fileno(), path.name, folder))
    except OSError:
        # The file was unlinked and cannot get a name again, or /proc is missing.
        _copy(file, path, folder, force=force)


def _make(path: Path, folder: int, *, force: bool, make: Callable[[], int]) -> int:
    """Call ``make``, which must fail if the name exists.

    With ``force``, remove an existing file and call it again.
    A rename would replace the old file in one step. But the new file would need a temporary name, and a killed process would leave it there.
    """
    for _ in range(ATTEMPTS):
        try:
            return make()
        except FileExistsError:
            if not force:
                raise _exists(path) from None
            _remove(path, folder)
    raise UserFacingError(f"Other processes keep creating {str(path)!r}. Wait until they end, or name another file.")


def _remove(path: Path, folder: int) -> None:
    try:
        _require_replaceable(path, os.stat(path.name, dir_fd=folder, follow_symlinks=False))
        os.unlink(path.name, dir_fd=folder)
    except FileNotFoundError:
        return


def _link(descriptor: int, name: str, folder: int) -> int:
    # With the descriptor of a folder, Python calls linkat(), which follows the link in /proc to the file. link() does not follow it.
    os.link(f"/proc/self/fd/{descriptor}", name, dst_dir_fd=folder, follow_symlinks=True)
    return descriptor


def _create(name: str, folder: int) -> int:
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
    os.fchmod(descriptor, 0o600)
    return descriptor


def _copy(file: BinaryIO, path: Path, folder: int, *, force: bool) -> None:
    descriptor = _make(path, folder, force=force, make=lambda: _create(path.name, folder))
    try:
        file.seek(0)
        with os.fdopen(descriptor, "wb") as copy:
            shutil.copyfileobj(file, copy)
            copy.flush()
            os.fsync(copy.fileno())
    except BaseException:
        os.unlink(path.name, dir_fd=folder)
        raise
