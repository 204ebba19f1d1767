"""A store for the tests of privacy: a set of ids, which can be unavailable."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

import pytest

from findme.core.errors import StoreUnavailable
from privacy.declarations import Category, Disposition, PersonalData
from privacy.purposes import ACCOUNT
from privacy.registry import Store, registry


class Shelf(Store):
    name = "shelf"
    data: tuple[PersonalData, ...] = (
        PersonalData(fields=("id",), category=Category.TECHNICAL, purpose=ACCOUNT, anonymize=Disposition.DELETED),
    )

    def __init__(self) -> None:
        self.ids: set[UUID] = set()
        self.reachable = True
        self.calls: list[str] = []
        self.before_removal: Callable[[], None] = lambda: None
        self.after_removal: Callable[[], None] = lambda: None

    def stored_fields(self) -> frozenset[str]:
        return frozenset({"id"})

    @contextmanager
    def session(self) -> Iterator[None]:
        self.calls.append("session")
        self._require()
        yield
        self.calls.append("release")

    def holds(self, user_id: UUID) -> bool:
        self._require()
        return user_id in self.ids

    def remove(self, user_id: UUID) -> bool:
        self.calls.append("remove")
        self.before_removal()
        self._require()
        held = user_id in self.ids
        self.ids.discard(user_id)
        self.after_removal()
        return held

    def fail(self) -> None:
        """Become unavailable. After a removal, fail before the removal is confirmed."""
        self.reachable = False
        self._require()

    def _require(self) -> None:
        if not self.reachable:
            raise StoreUnavailable("The shelf is too high. Fetch a ladder.")


def install_shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """Make a shelf the only store. All owners stay, also that of the embeddings."""
    shelf = Shelf()
    monkeypatch.setattr(registry, "_stores", {shelf.name: shelf})
    return shelf
