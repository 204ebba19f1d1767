"""The file of an address: its size, its content, and its deletion, which is read back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from django.conf import settings

from privacy.file_stores.addresses import Elsewhere, split_address
from privacy.file_stores.folder import Folder
from privacy.file_stores.object_store import ObjectStore, S3Store
from privacy.file_stores.store import FileStore


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file in a store. Each method raises StoreUnavailable if the store cannot be reached or refuses."""

    store: FileStore
    path: str

    def size(self) -> int | None:
        """Return the size in bytes, or None if there is no such file."""
        return self.store.size(self.path)

    def chunks(self) -> Iterator[bytes]:
        """Yield the content in pieces of at most 1 MiB. Raise StoreUnavailable also if there is no such file."""
        return self.store.chunks(self.path)

    def delete(self) -> bool:
        """Delete the file with all its versions, and read back that it is gone. Return whether there was one.

        A process can be killed at any moment of it. A further call completes the deletion.
        """
        existed = self.store.delete(self.path)
        self.store.require_gone(self.path)
        return existed

    def is_gone(self) -> bool:
        """Return whether the store has no version of the file, by a new request."""
        return self.store.is_gone(self.path)


def locate(address: str) -> StoredFile | Elsewhere:
    """Return the file of an address in a store of ``FILE_STORES``, or why no store has it. It asks no store."""
    found = split_address(address, settings.FILE_STORES)
    if isinstance(found, Elsewhere):
        return found
    url, path = found
    return StoredFile(file_store(url), path)


_stores: dict[tuple[str, int], FileStore] = {}
"""The stores by URL and process: a file system of fsspec cannot be used after a fork."""


def file_store(url: str) -> FileStore:
    """Return the store at ``url``. Raise StoreUnavailable for one that fsspec does not know."""
    key = (url, os.getpid())
    if key not in _stores:
        if "://" not in url or url.startswith("file://"):
            _stores[key] = Folder(url)
        else:
            _stores[key] = S3Store(url) if url.startswith(("s3://", "s3a://")) else ObjectStore(url)
    return _stores[key]
