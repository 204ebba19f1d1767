"""A folder with files. No link is followed below it, so no file outside of it can be read or deleted."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from findme.core.errors import StoreUnavailable
from privacy.file_stores.store import CHUNK_BYTES, FileStore

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
INNER_FOLDER = FOLDER | os.O_NOFOLLOW
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe would block the process


class Folder(FileStore):
    """Files in a folder. A folder that is not mounted is no empty store, so it must exist."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.root = url.removeprefix("file://")

    def size(self, path: str) -> int | None:
        with self.reached(), self._parent(path) as (folder, name):
            return None if folder is None else self._size(name, folder)

    def chunks(self, path: str) -> Iterator[bytes]:
        with self.reached(), self._parent(path) as (folder, name):
            if folder is None or self._size(name, folder) is None:
                raise FileNotFoundError
            with os.fdopen(os.open(name, FILE, dir_fd=folder), "rb", buffering=0) as file:
                while piece := file.read(CHUNK_BYTES):
                    yield piece

    def delete(self, path: str) -> bool:
        with self.reached(), self._parent(path) as (folder, name):
            if folder is None or self._size(name, folder) is None:
                return False
            os.unlink(name, dir_fd=folder)
            os.fsync(folder)
            return True

    def _size(self, name: str, folder: int) -> int | None:
        """Return the size of an ordinary file, or None if there is none. Raise StoreUnavailable for anything else."""
        try:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(found.st_mode):
            raise self._not_a_file()
        return found.st_size

    @contextmanager
    def _parent(self, path: str) -> Iterator[tuple[int | None, str]]:
        """Yield the open folder of the file, or None if there is no such folder, and the file's name."""
        *folders, name = path.split("/")
        descriptor: int | None = os.open(self.root, FOLDER)
        try:
            for part in folders:
                assert descriptor is not None
                inner = self._inner(part, descriptor)
                os.close(descriptor)
                descriptor = inner
                if inner is None:
                    break
            yield descriptor, name
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def _inner(self, part: str, folder: int) -> int | None:
        try:
            return os.open(part, INNER_FOLDER, dir_fd=folder)
        except FileNotFoundError:
            return None
        except NotADirectoryError:  # a link or a file
            raise self._not_a_file() from None

    def _not_a_file(self) -> StoreUnavailable:
        return StoreUnavailable(
            f"A path in the file store {self.name!r} leads to a link, a folder or a device: nothing was read or deleted."
            " Replace it with an ordinary file."
        )
