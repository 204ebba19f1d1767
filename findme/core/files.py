"""Files with personal data: new ones of mode 0600, never written through a link or into a file that another account may have open.

A file gets its name when it is complete. Until then it has none (``O_TMPFILE``), so a process that is killed leaves nothing.
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
"""How often a name is cleared for a new file while other processes take it again."""
NO_UNNAMED_FILES = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT})
"""What file systems without ``O_TMPFILE`` answer, and kernels that do not know it."""


@contextmanager
def atomic_write(path: Path, *, force: bool) -> Iterator[BinaryIO]:
    """Write a file that has no name, mode 0600 from the start, and name it ``path`` when the block ends without an error.

    Without ``force`` an existing file is never replaced, not even one that appears while the block runs. With it, only an ordinary file of this
    account is, and only then: a killed process leaves the old file, nothing, or the complete new one. On a file system without unnamed files
    (NFS, FAT) the data are copied to ``path`` at the end, and a process that is killed while it copies leaves a part of them there.

    Raises UserFacingError for a path that cannot be used and a full disk; OSError, with its file name, for what else the system refuses.
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
    """Yield a new unbuffered file ``path`` of mode 0600 that other programs can read while it grows. An error leaves what was written.

    ``force`` as in ``atomic_write``. Raises UserFacingError for an existing file that is not replaced, and OSError.
    """
    with _opened(path.parent) as folder:
        descriptor = _make(path, folder, force=force, make=lambda: _create(path.name, folder))
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        yield file


def unnamed_file(folder: Path) -> BinaryIO:
    """Open a new file in ``folder`` for reading and writing, mode 0600 whatever the umask is. It is gone when it is closed, if it gets no name."""
    descriptor = _unnamed(folder)
    os.fchmod(descriptor, 0o600)
    return os.fdopen(descriptor, "w+b")


def require_writable(path: Path, *, force: bool) -> None:
    """Raise UserFacingError for a path that ``atomic_write`` would refuse, and OSError for one that the system refuses."""
    if not path.parent.is_dir():
        raise UserFacingError(f"There is no folder {str(path.parent)!r}: make it first, or name a file elsewhere.")
    if path.is_dir():
        raise UserFacingError(f"{str(path)!r} is a folder: name a file in it.")
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not force:
        raise _exists(path)
    _require_replaceable(path, found)


def _require_replaceable(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise UserFacingError(f"{str(path)!r} is not an ordinary file, and is not replaced, by --force neither: name another one.")
    if found.st_uid != os.geteuid():
        raise UserFacingError(f"{str(path)!r} belongs to another account, and is not replaced, by --force neither: name another one.")


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
    except OSError:  # a file that was unlinked gets no name again, and without /proc none does
        _copy(file, path, folder, force=force)


def _make(path: Path, folder: int, *, force: bool, make: Callable[[], int]) -> int:
    """Call ``make``, which must fail if the name exists, and remove an existing file first if ``force`` is set.

    A rename would replace the old file in one step. But the new one would need another name before, and a killed process would leave it there.
    """
    for _ in range(ATTEMPTS):
        try:
            return make()
        except FileExistsError:
            if not force:
                raise _exists(path) from None
            _remove(path, folder)
    raise UserFacingError(f"Other processes write {str(path)!r} again and again: wait for them, or name another file.")


def _remove(path: Path, folder: int) -> None:
    try:
        _require_replaceable(path, os.stat(path.name, dir_fd=folder, follow_symlinks=False))
        os.unlink(path.name, dir_fd=folder)
    except FileNotFoundError:
        return


def _link(descriptor: int, name: str, folder: int) -> int:
    # With a folder's descriptor Python calls linkat(), which follows the link in /proc to the file; link() would not.
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
