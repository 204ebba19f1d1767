"""Backups in a store that fsspec can reach, such as S3."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, BinaryIO, cast

from backups.destinations.destination import Destination
from backups.destinations.translated import translated_reader, translated_writer
from findme.core.errors import StoreUnavailable, UserFacingError
from privacy.object_stores import create_object, open_object_store, require_bucket

READ_BYTES = 8 * 1024 * 1024
"""What one request reads."""
PART_BYTES = 8 * 1024 * 1024
"""What one request writes at first. See ``part_bytes``."""
LARGEST_PART_BYTES = 4 * PART_BYTES
"""What one request writes at most. A part is three times in memory: parts of 8 MiB took 104 MiB of a process, and those of 64 MiB 288 MiB."""
LARGEST_FILE_BYTES = 270 * 2**30
"""What 10,000 parts can hold, the most of S3."""


class ObjectDestination(Destination):
    """Objects below the path of the URL. The path must have a part below the bucket, since other data can be next to it."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        with self.reached():
            self.files_of_store, self.root = open_object_store(url)
        if not self.root.strip("/").partition("/")[2]:
            raise UserFacingError(f"{self.name!r} names a whole bucket. Name a folder in it, such as {self.name.rstrip('/')}/backups.")

    def remove_unfinished(self, older_than: timedelta | None, ending: str = "") -> int:
        """Return 0: fsspec tells of no such rest."""
        return 0

    def free_bytes(self) -> int | None:
        return None

    def explained(self, error: Exception) -> UserFacingError:
        reason = getattr(error, "strerror", None) or type(error).__name__
        if isinstance(error, PermissionError):
            return UserFacingError(f"{self.name!r} refuses the access ({reason}). Check the access keys and their rights.")
        if isinstance(error, FileNotFoundError):
            return UserFacingError(f"{self.name!r} does not exist ({reason}). Check the name of the bucket, or create the bucket.")
        if isinstance(error, ValueError | ImportError):
            return UserFacingError(
                f"{self.name!r} is no address of a store ({reason}). Name a folder, or an address such as s3://BUCKET/backups."
            )
        return StoreUnavailable(
            f"{self.name!r} cannot be reached ({reason}). Check the address and the network, then run the command again."
        )

    def _names(self) -> list[str]:
        return [name for name, kind, _ in self._listed("") if kind == "directory"]

    def _files(self, name: str) -> dict[str, int]:
        return {file: size for file, kind, size in self._listed(f"/{name}") if kind == "file"}

    def _listed(self, below: str) -> list[tuple[str, str, int]]:
        """Return name, type and size of each entry."""
        with self.reached():
            try:
                found = self.files_of_store.ls(f"{self.root}{below}", detail=True, refresh=True)
            except FileNotFoundError:
                require_bucket(self.files_of_store, self.root)
                return []
            return [(one["name"].rstrip("/").rpartition("/")[2], one["type"], int(one["size"] or 0)) for one in found]

    @contextmanager
    def _read(self, name: str, file: str) -> Iterator[BinaryIO]:
        with self.reached():
            try:
                opened = self.files_of_store.open(self._path(name, file), "rb", block_size=READ_BYTES)
            except FileNotFoundError:
                require_bucket(self.files_of_store, self.root)
                raise self.missing(name, file) from None
        with opened:
            yield translated_reader(opened, self.reached)

    @contextmanager
    def _write(self, name: str, file: str) -> Iterator[BinaryIO]:
        """Write one file at a time: a transaction is that of the whole file system."""
        transaction, opened = self.files_of_store.transaction, None
        transaction.start()
        try:
            with self.reached():
                opened = self.files_of_store.open(self._path(name, file), "wb", block_size=PART_BYTES)
            yield translated_writer(cast("BinaryIO", _GrowingParts(opened)), self.reached)
            with self.reached():
                opened.close()
                transaction.complete(commit=True)
        except BaseException:
            if opened is not None and hasattr(opened, "blocksize"):
                # Else the end of the object would write what is there: an object of S3 that looks complete.
                opened.closed = True
            with suppress(Exception):  # the store can be unavailable, and then a later run removes the rest
                transaction.complete(commit=False)
            raise

    def _create(self, name: str, file: str, content: bytes) -> bool:
        path = self._path(name, file)
        with self.reached():
            # A request whose answer is lost is repeated, and then finds its own object.
            return create_object(self.files_of_store, path, content) or bool(self.files_of_store.cat_file(path) == content)

    def _delete_file(self, name: str, file: str) -> None:
        with self.reached(), suppress(FileNotFoundError):
            self.files_of_store.rm_file(self._path(name, file))

    def _delete_backup(self, name: str) -> None:
        """Do nothing: the folders of an object store are made of the names of its objects."""

    def _path(self, name: str, file: str) -> str:
        return f"{self.root}/{name}/{file}"


class _GrowingParts:
    """A file of fsspec whose parts grow, so that small files take little memory, and an upload of S3 can have ``LARGEST_FILE_BYTES``."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.written = 0

    def write(self, data: Any) -> int:
        if self.written > LARGEST_FILE_BYTES:
            raise UserFacingError(
                f"A file of the backup has more than {LARGEST_FILE_BYTES:,} bytes, the most of S3. Name a folder instead."
            )
        if hasattr(self.file, "blocksize"):
            self.file.blocksize = part_bytes(self.written)
        accepted = int(self.file.write(data))
        self.written += accepted
        return accepted


def part_bytes(written: int) -> int:
    """Return the size of the next part. After each 1,000 parts of a size it is doubled, up to ``LARGEST_PART_BYTES``."""
    size, end = PART_BYTES, 1000 * PART_BYTES
    while size < LARGEST_PART_BYTES and written >= end:
        size *= 2
        end += 1000 * size
    return size
