"""A store for the tests of privacy: a set of ids, in memory or in a folder, which can be unavailable."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, MutableSet
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import pytest

from findme.core.errors import StoreUnavailable
from privacy.declarations import Category, Disposition, PersonalData
from privacy.purposes import ACCOUNT
from privacy.registry import Store, registry


class Shelf(Store):
    """``ids`` are the data, found by id or by reading all. ``loose`` are data without a key, found by reading all."""

    name = "shelf"
    is_projection = True
    data: tuple[PersonalData, ...] = (
        PersonalData(fields=("id",), category=Category.TECHNICAL, purpose=ACCOUNT, anonymize=Disposition.DELETED),
    )

    def __init__(self, ids: MutableSet[UUID] | None = None) -> None:
        self.ids: MutableSet[UUID] = set() if ids is None else ids
        self.loose: list[UUID] = []
        self.reachable = True
        self.answers_after = 0.0
        self.timeout = 0.05
        self.calls: list[str] = []
        self.before_removal: Callable[[], None] = lambda: None
        self.after_removal: Callable[[], None] = lambda: None

    def stored_fields(self) -> frozenset[str]:
        return frozenset({"id"})

    @contextmanager
    def session(self) -> Iterator[None]:
        self.calls.append("session")
        self.require()
        yield
        self.calls.append("release")

    def holds(self, user_id: UUID) -> bool:
        self.require()
        return user_id in self.ids

    def remove(self, user_id: UUID) -> bool:
        self.calls.append("remove")
        self.before_removal()
        self.require()
        held = user_id in self.ids
        self.ids.discard(user_id)
        self.after_removal()
        return held

    def remaining(self, user_id: UUID) -> list[str]:
        self.require()
        return ["the books"] if user_id in self.ids or user_id in list(self.ids) else []

    def scan(self, user_ids: Collection[UUID]) -> frozenset[UUID]:
        self.require()
        return frozenset(user_ids).intersection([*self.ids, *self.loose])

    def fail(self) -> None:
        """Become unavailable. After a removal, fail before the removal is confirmed."""
        self.reachable = False
        self.require()

    def require(self) -> None:
        """Raise StoreUnavailable if the shelf cannot be reached, or does not answer in time. Each request begins with this."""
        if not self.reachable:
            raise StoreUnavailable("The shelf is too high. Fetch a ladder.")
        iter(self.ids)  # a folder that is missing raises
        time.sleep(min(self.answers_after, self.timeout))
        if self.answers_after > self.timeout:
            raise StoreUnavailable("The shelf does not answer. Wait, then ask again.")


class Folder(MutableSet[UUID]):
    """Ids as names of files. Other processes see them, and they stay when a process is killed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __contains__(self, user_id: object) -> bool:
        return any(found == user_id for found in self)

    def __iter__(self) -> Iterator[UUID]:
        if not self.path.is_dir():
            raise StoreUnavailable("There is no shelf. Build one.")
        return (UUID(file.name) for file in self.path.iterdir())

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def add(self, user_id: UUID) -> None:
        (self.path / str(user_id)).touch()

    def discard(self, user_id: UUID) -> None:
        (self.path / str(user_id)).unlink(missing_ok=True)


def install_shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """Make a shelf the only store. All owners stay, also that of the embeddings."""
    shelf = Shelf()
    monkeypatch.setattr(registry, "_stores", {shelf.name: shelf})
    return shelf
