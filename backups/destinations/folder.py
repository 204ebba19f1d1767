"""Backups in a folder, each in a folder of its own with mode 0700. No link is followed below it."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from math import inf
from pathlib import Path
from typing import BinaryIO, cast

from backups.destinations.destination import Destination
from backups.destinations.new_file import UNFINISHED, NewFile, sync_folder
from backups.destinations.translated import translated_reader, translated_writer
from findme.core.errors import StoreUnavailable, UserFacingError
from findme.core.folders import distrust_reason

FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe would block the process
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
DENIED = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


class FolderDestination(Destination):
    """A folder, which must exist: one whose disk is not mounted would else get a backup that fills another disk."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.folder = Path(url.removeprefix("file://")).absolute()
        self.name = str(self.folder)

    def remove_unfinished(self, older_than: timedelta | None, ending: str = "") -> int:
        removed = 0
        latest = inf if older_than is None else time.time() - older_than.total_seconds()
        for name in [name for name in self.names() if name.endswith(ending)]:
            with self.reached():
                for path in self._entries(name):
                    if UNFINISHED.fullmatch(path.name) and path.lstat().st_mtime <= latest:
                        path.unlink()
                        removed += 1
        return removed

    def free_bytes(self) -> int | None:
        with self.reached():
            self._require()
            found = os.statvfs(self.folder)
            return found.f_bavail * found.f_frsize

    def explained(self, error: Exception) -> UserFacingError:
        number = error.errno if isinstance(error, OSError) else None
        reason = getattr(error, "strerror", None) or type(error).__name__
        if number in FULL:
            return UserFacingError(
                f"{self.name!r} has no room left ({reason}). Delete old backups with prune_backups, or name another destination."
            )
        if number in DENIED:
            return UserFacingError(f"{self.name!r} cannot be used ({reason}). Check its owner, its mode and how its disk is mounted.")
        if number in (errno.ENOENT, errno.ENOTDIR):
            return UserFacingError(
                f"There is no folder {self.name!r}, or a part of it is missing. Check that its disk is mounted, or create it with mkdir --mode 700."
            )
        return StoreUnavailable(f"{self.name!r} cannot be reached ({reason}). Check its disk, then run the command again.")

    def _names(self) -> list[str]:
        with self.reached():
            self._require()
            return [path.name for path in self.folder.iterdir() if stat.S_ISDIR(path.lstat().st_mode)]

    def _files(self, name: str) -> dict[str, int]:
        with self.reached():
            found = {path.name: path.lstat() for path in self._entries(name)}
            return {file: one.st_size for file, one in found.items() if stat.S_ISREG(one.st_mode)}

    @contextmanager
    def _read(self, name: str, file: str) -> Iterator[BinaryIO]:
        with self.reached():
            folder = self._backup(name)
            try:
                if folder is None:
                    raise self.missing(name, file)
                descriptor = os.open(folder / file, FILE)
            except FileNotFoundError:
                raise self.missing(name, file) from None
            except OSError as error:
                if error.errno == errno.ELOOP:
                    raise self._not_a_file(name, file) from None
                raise
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise self._not_a_file(name, file)
        with os.fdopen(descriptor, "rb", buffering=0) as opened:
            yield translated_reader(cast("BinaryIO", opened), self.reached)

    @contextmanager
    def _write(self, name: str, file: str) -> Iterator[BinaryIO]:
        with self.reached():
            folder = self._made(name)
            if os.path.lexists(folder / file):
                raise self.existing(name, file)
            new = NewFile(folder, file)
        try:
            yield translated_writer(cast("BinaryIO", new.file), self.reached)
            with self.reached():
                try:
                    new.publish()
                except FileExistsError:
                    raise self.existing(name, file) from None
        finally:
            with self.reached():
                new.close()

    def _create(self, name: str, file: str, content: bytes) -> bool:
        try:
            with self._write(name, file) as sink:
                rest = memoryview(content)
                while rest:
                    rest = rest[sink.write(rest) :]
        except UserFacingError:
            with self.reached():
                if os.path.lexists(self.folder / name / file):
                    return False
            raise
        return True

    def _delete_file(self, name: str, file: str) -> None:
        with self.reached():
            folder = self._backup(name)
            if folder is not None:
                (folder / file).unlink(missing_ok=True)
                sync_folder(folder)

    def _delete_backup(self, name: str) -> None:
        with self.reached():
            for path in self._entries(name):
                if UNFINISHED.fullmatch(path.name):
                    path.unlink(missing_ok=True)
            try:
                (self.folder / name).rmdir()
            except FileNotFoundError:
                return
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                raise UserFacingError(
                    f"The backup {name!r} in {self.name!r} is deleted, but its folder has entries that are no files of a backup. Delete them by hand."
                ) from None
            sync_folder(self.folder)

    def _entries(self, name: str) -> list[Path]:
        folder = self._backup(name)
        return [] if folder is None else sorted(folder.iterdir())

    def _made(self, name: str) -> Path:
        """Return the folder of the backup, and create it before if it does not exist."""
        self._require()
        with suppress(FileExistsError):
            (self.folder / name).mkdir(mode=0o700)
            (self.folder / name).chmod(0o700)  # whatever the umask is
            sync_folder(self.folder)
        folder = self._backup(name)
        if folder is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self.folder / name))
        return folder

    def _backup(self, name: str) -> Path | None:
        """Return the folder of the backup, or None if there is none."""
        self._require()
        path = self.folder / name
        try:
            found = path.lstat()
        except FileNotFoundError:
            return None
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (0, os.geteuid()):
            raise UserFacingError(f"{str(path)!r} is no folder of this account: nothing was done. Delete it, or use another backup.")
        return path

    def _require(self) -> None:
        """Raise an error for a folder that is missing, and for one that another account can change."""
        if stat.S_ISLNK(self.folder.lstat().st_mode):
            raise UserFacingError(f"{self.name!r} is a link: nothing was done. Name the folder that it leads to.")
        if reason := distrust_reason(self.folder):
            raise UserFacingError(
                f"The destination is {self.name!r}, {reason}: nothing was done. Only you or root may own and write it. Name another folder, or correct it."
            )

    def _not_a_file(self, name: str, file: str) -> UserFacingError:
        return UserFacingError(f"{file!r} of the backup {name!r} in {self.name!r} is no ordinary file. Use another backup.")
