"""What a store of files can do."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

from findme.core.errors import StoreUnavailable, UserFacingError

CHUNK_BYTES = 1024 * 1024


class FileStore(ABC):
    """Files by their path below ``url``. Each method raises StoreUnavailable, and never takes a missing store for an empty one."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.name = re.sub(r"//[^/@]*@", "//", url)
        """The URL without a password, for messages."""

    @abstractmethod
    def size(self, path: str) -> int | None:
        """Return the size in bytes, or None if there is no such file."""

    @abstractmethod
    def chunks(self, path: str) -> Iterator[bytes]:
        """Yield the content in pieces of at most ``CHUNK_BYTES``."""

    @abstractmethod
    def delete(self, path: str) -> bool:
        """Delete the file with all its versions. Return whether there was one."""

    def is_gone(self, path: str) -> bool:
        """Return whether the store has no version of the file."""
        return self.size(path) is None

    def require_gone(self, path: str) -> None:
        if not self.is_gone(path):
            raise StoreUnavailable(
                f"The file store {self.name!r} still has a file after its deletion. Check the log of the store, then run this again."
            )

    @contextmanager
    def reached(self) -> Iterator[None]:
        """Translate the errors of the store. Messages name the store and no file, because a path can have the name of a user."""
        try:
            yield
        except UserFacingError:
            raise
        except Exception as error:  # noqa: BLE001  # every file system of fsspec has its own errors
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise StoreUnavailable(
                f"The file store {self.name!r} cannot be reached ({reason}). Check FILE_STORES and its access rights."
            ) from None  # the original error has the path
