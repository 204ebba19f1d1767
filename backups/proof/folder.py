"""A private temporary folder for decrypted snapshots. The next run on this machine deletes it if its own run was killed.

A run holds a lock on its folder (``flock``), which the kernel releases when the process ends.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from findme.core.errors import UserFacingError
from findme.core.waiting import wait_until

PREFIX = "findme-proof-"
REMOVE_SECONDS = 10.0


@contextmanager
def private_folder(size: int) -> Iterator[Path]:
    """Yield a new folder with mode 0700, and delete it with its content afterwards. It must have room for ``size`` bytes.

    It is in the folder for temporary files (TMPDIR). Raise UserFacingError if it cannot be created.
    """
    parent = Path(tempfile.gettempdir()).absolute()
    try:
        path, descriptor = _created(parent)
    except OSError as error:
        raise UserFacingError(
            f"No folder can be created in {str(parent)!r}: {error.strerror or error}. Name another one in TMPDIR."
        ) from error
    try:
        free = shutil.disk_usage(path).free
        if free < size:
            raise UserFacingError(
                f"The snapshots need {size:,} bytes in {str(parent)!r}, which has {free:,} left: nothing was restored. Make room, or name another"
                " folder in TMPDIR."
            )
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


def delete_abandoned_folders() -> list[Path]:
    """Delete the folders of killed runs of this account, and return their paths."""
    deleted: list[Path] = []
    for path in sorted(Path(tempfile.gettempdir()).absolute().glob(f"{PREFIX}*")):
        if (descriptor := _locked(path)) is not None:
            try:
                # A process of the killed run may still write for a moment, before it ends too.
                if not wait_until(lambda path=path: _is_removed(path), REMOVE_SECONDS):  # type: ignore[misc]  # a default binds the loop's value
                    raise UserFacingError(
                        f"The folder {str(path)!r} of a killed run cannot be deleted: delete it, then run the command again."
                    )
                deleted.append(path)
            finally:
                os.close(descriptor)
    return deleted


def _is_removed(path: Path) -> bool:
    shutil.rmtree(path, ignore_errors=True)
    return not path.exists()


def _created(parent: Path) -> tuple[Path, int]:
    """Return a new folder and the descriptor that holds its lock. A run that cleans up may delete it before it is locked."""
    while True:
        path = parent / f"{PREFIX}{secrets.token_hex(8)}"
        path.mkdir(mode=0o700)
        if (descriptor := _locked(path)) is not None:
            if path.exists():
                return path, descriptor
            os.close(descriptor)


def _locked(path: Path) -> int | None:
    """Return a descriptor that holds the lock, or None if another process holds it, or if the folder is not one of this account."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            found = os.fstat(descriptor)
            if found.st_uid == os.geteuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return descriptor
        except BlockingIOError:
            pass
        os.close(descriptor)
    return None
