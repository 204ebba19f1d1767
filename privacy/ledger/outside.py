"""The ledger outside the database: a folder, or a store that fsspec can reach, such as S3.

It consists of objects that are never changed. An object has up to 1,000 entries, and the position of its first entry is its name. So two databases
that continue the same ledger meet at the same name, and only one can create it. The checkpoints are in a folder of their own. After a checkpoint is
there, the objects before it are deleted.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from django.conf import settings

from findme.core.errors import StoreUnavailable, UserFacingError
from findme.core.files import atomic_write
from privacy.object_stores import create_object, open_object_store, require_bucket

ENDING = ".jsonl"
CHECKPOINTS = "checkpoints"
"""The folder of the checkpoints."""
CHECKPOINT_ENDING = ".jws"


class OutsideLedger(ABC):
    """Objects by the position of their first entry, and checkpoints by their position. All methods raise StoreUnavailable."""

    def read(self, first: int) -> bytes | None:
        """Return the object, or None if there is none."""
        return self._read(_name(first))

    def create(self, first: int, content: bytes) -> bool:
        """Create the object, durably. Return False, and change nothing, if it exists."""
        return self._create(_name(first), content)

    def delete(self, first: int) -> None:
        """Delete the object, durably, if it exists."""
        self._delete(_name(first))

    def firsts(self) -> list[int]:
        """Return the positions of all objects, in order."""
        return _positions(self._names(""), ENDING)

    def read_checkpoint(self, position: int) -> bytes | None:
        """Return the checkpoint, or None if there is none."""
        return self._read(_checkpoint_name(position))

    def create_checkpoint(self, position: int, content: bytes) -> bool:
        """Create the checkpoint, durably. Return False, and change nothing, if it exists."""
        return self._create(_checkpoint_name(position), content)

    def checkpoints(self) -> list[int]:
        """Return the positions of all checkpoints, in order."""
        return _positions(self._names(CHECKPOINTS), CHECKPOINT_ENDING)

    @abstractmethod
    def _read(self, name: str) -> bytes | None: ...

    @abstractmethod
    def _create(self, name: str, content: bytes) -> bool: ...

    @abstractmethod
    def _delete(self, name: str) -> None: ...

    @abstractmethod
    def _names(self, folder: str) -> list[str]:
        """Return the names in a folder of the ledger, which need not exist. ``""`` is the ledger itself."""


class FolderLedger(OutsideLedger):
    """Files in a folder. The file system must survive what the database does not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _read(self, name: str) -> bytes | None:
        with _reached(str(self.folder)):
            self._require_folder()
            try:
                return (self.folder / name).read_bytes()
            except FileNotFoundError:
                return None

    def _create(self, name: str, content: bytes) -> bool:
        path = self.folder / name
        with _reached(str(self.folder)):
            self._require_folder()
            if path.parent != self.folder:
                path.parent.mkdir(mode=0o700, exist_ok=True)
                _sync(self.folder)
            try:
                with atomic_write(path, force=False) as file:
                    file.write(content)
            except UserFacingError:
                if path.exists():
                    return False
                raise
        return True

    def _delete(self, name: str) -> None:
        with _reached(str(self.folder)):
            self._require_folder()
            (self.folder / name).unlink(missing_ok=True)
            _sync(self.folder)

    def _names(self, folder: str) -> list[str]:
        with _reached(str(self.folder)):
            self._require_folder()
            try:
                return [path.name for path in (self.folder / folder).iterdir()]
            except FileNotFoundError:
                return []

    def _require_folder(self) -> None:
        """Raise FileNotFoundError: a folder that is not mounted must not look like an empty ledger."""
        self.folder.stat()


class ObjectLedger(OutsideLedger):
    """Objects of a store that fsspec can reach."""

    def __init__(self, url: str) -> None:
        with _reached(url):
            self.files, self.root = open_object_store(url)
            self.url = url

    def _read(self, name: str) -> bytes | None:
        with _reached(self.url):
            try:
                content: bytes = self.files.cat_file(f"{self.root}/{name}")
            except FileNotFoundError:
                require_bucket(self.files, self.root)
                return None
            return content

    def _create(self, name: str, content: bytes) -> bool:
        with _reached(self.url):
            return create_object(self.files, f"{self.root}/{name}", content)

    def _delete(self, name: str) -> None:
        with _reached(self.url), suppress(FileNotFoundError):
            self.files.rm_file(f"{self.root}/{name}")

    def _names(self, folder: str) -> list[str]:
        with _reached(self.url):
            try:
                found = self.files.ls(f"{self.root}/{folder}".rstrip("/"), detail=False)
            except FileNotFoundError:
                require_bucket(self.files, self.root)
                return []
            return [name.rpartition("/")[2] for name in found]


def outside_ledger() -> OutsideLedger:
    """Return the ledger at ``ERASURE_LEDGER_URL``. Raise UserFacingError if it is not set."""
    url = settings.ERASURE_LEDGER_URL
    if not url:
        raise UserFacingError(
            "ERASURE_LEDGER_URL is not set: nothing was changed. Set it to a folder on another disk, or to an address such as s3://BUCKET/ledger."
        )
    if settings.PRIVACY_FILES_CREATED and Path(url).parent == Path(settings.PRIVACY_FILES_DIR):
        with _reached(url):
            Path(url).mkdir(mode=0o700, parents=True, exist_ok=True)
    return FolderLedger(Path(url.removeprefix("file://"))) if "://" not in url or url.startswith("file://") else ObjectLedger(url)


@contextmanager
def _reached(place: str) -> Iterator[None]:
    """Translate the errors of the store."""
    try:
        yield
    except UserFacingError:
        raise
    except Exception as error:  # every file system of fsspec has its own errors
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise StoreUnavailable(
            f"The ledger at {place!r} cannot be reached ({reason}). Check ERASURE_LEDGER_URL and its access rights."
        ) from error


def _sync(folder: Path) -> None:
    """Make changes of the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _name(first: int) -> str:
    return f"{first:019}{ENDING}"


def _checkpoint_name(position: int) -> str:
    return f"{CHECKPOINTS}/{position:019}{CHECKPOINT_ENDING}"


def _positions(names: Iterable[str], ending: str) -> list[int]:
    return sorted(int(name.removesuffix(ending)) for name in names if name.endswith(ending) and name.removesuffix(ending).isdecimal())
