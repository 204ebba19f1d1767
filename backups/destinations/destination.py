"""What a place for backups can do."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import BinaryIO

from findme.core.errors import UserFacingError

MANIFEST = "manifest.json"
"""The file without which there is no backup: it is written last and deleted first."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,250}")
"""A name of a backup, or of a file in it. It cannot lead to another folder, and hidden files have no such name."""


class Destination(ABC):
    """Backups by their names, and in each of them files by their names.

    Each method raises StoreUnavailable if the place cannot be reached, and UserFacingError if the operator must act first. A place that is missing is
    never an empty one. No file has a part of its content: it is there when it is complete.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.name = re.sub(r"//[^/@]*@", "//", url)
        """The URL without a password, for messages."""

    def names(self) -> list[str]:
        """Return the names of all backups in order, complete or not."""
        return sorted(name for name in self._names() if NAME.fullmatch(name))

    def files(self, name: str) -> dict[str, int]:
        """Return the sizes of the files of a backup by their names, in order. A backup that does not exist has no files."""
        found = self._files(_checked(name))
        return {file: found[file] for file in sorted(found) if NAME.fullmatch(file)}

    def read(self, name: str, file: str) -> AbstractContextManager[BinaryIO]:
        """Open a file to be read once, from its beginning."""
        return self._read(_checked(name), _checked(file))

    def write(self, name: str, file: str) -> AbstractContextManager[BinaryIO]:
        """Open a new file to be written once. It exists, durably, when the block ends without an exception."""
        return self._write(_checked(name), _checked(file))

    def create(self, name: str, file: str, content: bytes) -> bool:
        """Create a file, durably. Return False, and change nothing, if it exists."""
        return self._create(_checked(name), _checked(file), content)

    def delete(self, name: str) -> None:
        """Delete a backup, if it exists: its manifest first, so that a process that is killed leaves no backup that looks complete."""
        files = self.files(name)
        for file in sorted(files, key=lambda file: file != MANIFEST):
            self._delete_file(name, file)
        self._delete_backup(name)

    @abstractmethod
    def remove_unfinished(self, older_than: timedelta | None, ending: str = "") -> int:
        """Remove what killed processes left of files that were not complete, of backups whose name ends with ``ending``. Return how many.

        A file that was written to within ``older_than`` can belong to a process that still runs. With None, no process writes to these backups.
        """

    @abstractmethod
    def free_bytes(self) -> int | None:
        """Return how much room is left, or None for a place without a limit."""

    @abstractmethod
    def explained(self, error: Exception) -> UserFacingError:
        """Return the error of this place for an exception of its file system."""

    @contextmanager
    def reached(self) -> Iterator[None]:
        """Translate the errors of the place. The block has no code of the caller, whose errors are its own."""
        try:
            yield
        except UserFacingError:
            raise
        except Exception as error:  # every file system of fsspec has its own errors
            raise self.explained(error) from error

    def missing(self, name: str, file: str) -> UserFacingError:
        return UserFacingError(f"The backup {name!r} in {self.name!r} has no file {file!r}. Use another backup.")

    def existing(self, name: str, file: str) -> UserFacingError:
        return UserFacingError(f"The backup {name!r} in {self.name!r} already has a file {file!r}: it was not changed. Use a new name.")

    @abstractmethod
    def _names(self) -> list[str]: ...

    @abstractmethod
    def _files(self, name: str) -> dict[str, int]: ...

    @abstractmethod
    def _read(self, name: str, file: str) -> AbstractContextManager[BinaryIO]: ...

    @abstractmethod
    def _write(self, name: str, file: str) -> AbstractContextManager[BinaryIO]: ...

    @abstractmethod
    def _create(self, name: str, file: str, content: bytes) -> bool: ...

    @abstractmethod
    def _delete_file(self, name: str, file: str) -> None: ...

    @abstractmethod
    def _delete_backup(self, name: str) -> None:
        """Delete what is left of a backup without files."""


def _checked(name: str) -> str:
    """Return the name. Raise UserFacingError for one that can lead out of its folder: it can come from the manifest of another person."""
    if not NAME.fullmatch(name):
        raise UserFacingError(f"{name!r} is no name of a backup or of a file in it. Use letters, digits, '_', '.' and '-' only.")
    return name
