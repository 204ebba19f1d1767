"""The ledger outside the database: a folder, or a store that fsspec can reach, such as S3.

It consists of objects that are never changed. An object has up to 1,000 entries, and the position of its first entry is its name. So two databases
that continue the same ledger meet at the same name, and only one can create it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings

from findme.core.errors import StoreUnavailable, UserFacingError
from findme.core.files import atomic_write
from privacy.object_stores import open_object_store

ENDING = ".jsonl"


class OutsideLedger(ABC):
    """Objects by the position of their first entry. All methods raise StoreUnavailable."""

    @abstractmethod
    def read(self, first: int) -> bytes | None:
        """Return the object, or None if there is none."""

    @abstractmethod
    def create(self, first: int, content: bytes) -> bool:
        """Create the object, durably. Return False, and change nothing, if it exists."""

    @abstractmethod
    def firsts(self) -> list[int]:
        """Return the positions of all objects, in order."""


class FolderLedger(OutsideLedger):
    """Files in a folder. The file system must survive what the database does not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, first: int) -> bytes | None:
        with _reached(str(self.folder)):
            self._require_folder()
            try:
                return self._path(first).read_bytes()
            except FileNotFoundError:
                return None

    def create(self, first: int, content: bytes) -> bool:
        path = self._path(first)
        with _reached(str(self.folder)):
            self._require_folder()
            try:
                with atomic_write(path, force=False) as file:
                    file.write(content)
            except UserFacingError:
                if path.exists():
                    return False
                raise
        return True

    def firsts(self) -> list[int]:
        with _reached(str(self.folder)):
            self._require_folder()
            return _positions(path.name for path in self.folder.iterdir())

    def _path(self, first: int) -> Path:
        return self.folder / _name(first)

    def _require_folder(self) -> None:
        """Raise FileNotFoundError: a folder that is not mounted must not look like an empty ledger."""
        self.folder.stat()


class ObjectLedger(OutsideLedger):
    """Objects of a store that fsspec can reach."""

    def __init__(self, url: str) -> None:
        with _reached(url):
            self.files, self.root = open_object_store(url)
            self.url = url

    def read(self, first: int) -> bytes | None:
        with _reached(self.url):
            try:
                content: bytes = self.files.cat_file(self._path(first))
            except FileNotFoundError:
                return None
            return content

    def create(self, first: int, content: bytes) -> bool:
        with _reached(self.url):
            try:
                self.files.pipe_file(self._path(first), content, mode="create")
            except FileExistsError:
                return False
            # An answer is no proof. A store that ignores the condition overwrites the object of another database here, and read() names the difference.
            return bool(self.files.cat_file(self._path(first)) == content)

    def firsts(self) -> list[int]:
        with _reached(self.url):
            try:
                found = self.files.ls(self.root, detail=False)
            except FileNotFoundError:
                return []
            return _positions(name.rpartition("/")[2] for name in found)

    def _path(self, first: int) -> str:
        return f"{self.root}/{_name(first)}"


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


def _name(first: int) -> str:
    return f"{first:019}{ENDING}"


def _positions(names: Iterator[str]) -> list[int]:
    return sorted(int(name.removesuffix(ENDING)) for name in names if name.endswith(ENDING) and name.removesuffix(ENDING).isdecimal())
