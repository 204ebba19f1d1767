"""Shelves that break a promise, to prove that each promise can fail."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import UUID

from django.contrib.auth import get_user_model

from findme.core.errors import StoreUnavailable
from tests.privacy.shelf import Folder, Shelf
from tests.privacy.shelf_harness import ShelfHarness


class OpensOnce(Shelf):
    """The inner session fails."""

    is_open = False

    @contextmanager
    def session(self) -> Iterator[None]:
        if self.is_open:
            raise StoreUnavailable("The shelf is open.")
        self.is_open = True
        try:
            with super().session():
                yield
        finally:
            self.is_open = False


class ClosesEarly(Shelf):
    """The end of an inner session ends the outer one."""

    is_open = False

    @contextmanager
    def session(self) -> Iterator[None]:
        self.is_open = True
        with super().session():
            yield
        self.is_open = False

    def holds(self, user_id: UUID) -> bool:
        return self.is_open and super().holds(user_id)


class StaysOpen(Shelf):
    """An error leaves the session open, and others wait for its end."""

    sessions = 0

    @contextmanager
    def session(self) -> Iterator[None]:
        if self.sessions < 0:
            raise StoreUnavailable("Another process has the shelf.")
        with super().session():
            try:
                yield
            except ZeroDivisionError:
                self.sessions = -1
                raise


class HoldsAll(Shelf):
    """It answers for any user."""

    def holds(self, user_id: UUID) -> bool:
        return super().holds(user_id) or bool(self.ids)


class TrustsItsDeletion(Shelf):
    """It reads nothing back."""

    def remaining(self, user_id: UUID) -> list[str]:
        self.require()
        return []


class LooksUp(Shelf):
    """It reads back by id only, as ``holds`` does."""

    def remaining(self, user_id: UUID) -> list[str]:
        return ["the books"] if self.holds(user_id) else []


class ScansByKey(Shelf):
    """It looks each user up."""

    def scan(self, user_ids: Collection[UUID]) -> frozenset[UUID]:
        self.require()
        return frozenset(user_id for user_id in user_ids if user_id in self.ids)


class ScansTooMuch(Shelf):
    """It returns users that the caller has not named."""

    def scan(self, user_ids: Collection[UUID]) -> frozenset[UUID]:
        self.require()
        return frozenset([*self.ids, *self.loose])


class RemovesAll(Shelf):
    """It deletes the data of other users."""

    def remove(self, user_id: UUID) -> bool:
        removed = super().remove(user_id)
        for other in list(self.ids):
            self.ids.discard(other)
        return removed


class RemovesOnce(Shelf):
    """It fails if there is nothing to remove."""

    def remove(self, user_id: UUID) -> bool:
        if not self.holds(user_id):
            raise StoreUnavailable("The shelf has no such book.")
        return super().remove(user_id)


class CountsAttempts(Shelf):
    """It says that there were data whenever it was asked to remove them."""

    def remove(self, user_id: UUID) -> bool:
        super().remove(user_id)
        return True


class ForgivingFolder(Folder):
    """A missing folder is an empty one."""

    def __iter__(self) -> Iterator[UUID]:
        return super().__iter__() if self.path.is_dir() else iter(())


class EmptyIfAbsent(Shelf):
    """A missing shelf is an empty one."""

    def __init__(self, ids: Folder) -> None:
        super().__init__(ForgivingFolder(ids.path))


class EmptyIfDown(Shelf):
    """A shelf that cannot be reached is an empty one."""

    def holds(self, user_id: UUID) -> bool:
        return self.reachable and super().holds(user_id)


class Waits(Shelf):
    """It waits for an answer for ever."""

    def __init__(self, ids: Folder) -> None:
        super().__init__(ids)
        self.timeout = 3600.0


class RaisesErrorsOfItsDriver(Shelf):
    """The caller cannot know them."""

    def require(self) -> None:
        try:
            super().require()
        except StoreUnavailable as error:
            raise ConnectionError from error


class WritesReports(Shelf):
    """Its errors have several lines."""

    def require(self) -> None:
        try:
            super().require()
        except StoreUnavailable as error:
            raise StoreUnavailable(f"Traceback:\n{error}") from error


class NeverRecovers(Shelf):
    """An outage ends with the process only."""

    has_failed = False

    def require(self) -> None:
        try:
            super().require()
        except StoreUnavailable:
            self.has_failed = True
            raise
        if self.has_failed:
            raise StoreUnavailable("The shelf was too high.")


class IgnoresFailures(Shelf):
    """It takes a removal that failed as done."""

    def remove(self, user_id: UUID) -> bool:
        with suppress(StoreUnavailable):
            return super().remove(user_id)
        return True


class RefusesLate(Shelf):
    """It opens a session with a shelf that cannot be reached, so an action has changed PostgreSQL when it fails."""

    @contextmanager
    def session(self) -> Iterator[None]:
        yield


class ForgetsTheRest(Shelf):
    """It removes the entry of its index first. If it was killed then, it finds no entry and removes nothing."""

    def __init__(self, index: Folder, books: Folder) -> None:
        super().__init__(index)
        self.books = books

    def remove(self, user_id: UUID) -> bool:
        removed = super().remove(user_id)
        if removed:
            self.books.discard(user_id)
        return removed

    def remaining(self, user_id: UUID) -> list[str]:
        return ["the books"] if user_id in self.books else super().remaining(user_id)


class HasAWorker(ShelfHarness):
    """A worker writes a user who is being removed, because the shelf locks no user."""

    def __init__(self, path: Path, shelf: type[Shelf] = Shelf) -> None:
        super().__init__(path, shelf)
        self.written: list[UUID] = []

    def put(self, user_id: UUID) -> None:
        super().put(user_id)
        self.written.append(user_id)

    def work(self) -> None:
        for user_id in get_user_model().objects.filter(pk__in=self.written).values_list("pk", flat=True):
            super().put(user_id)


class IndexedHarness(ShelfHarness):
    """The harness of ``ForgetsTheRest``."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.index = path / "index"
        self.index.mkdir()
        self.store = self.shelf = ForgetsTheRest(Folder(self.index), Folder(self.path))

    def put(self, user_id: UUID) -> None:
        super().put(user_id)
        (self.index / str(user_id)).touch()

    def register_elsewhere(self) -> str:
        return f"""
from pathlib import Path
from privacy.registry import registry
from tests.privacy.broken_shelves import ForgetsTheRest
from tests.privacy.shelf import Folder
registry._stores = {{"shelf": ForgetsTheRest(Folder(Path({str(self.index)!r})), Folder(Path({str(self.path)!r})))}}
"""
