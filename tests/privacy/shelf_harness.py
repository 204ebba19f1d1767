"""What the promises of a store need to know about the shelf."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from uuid import UUID

import pytest

from tests.privacy.shelf import Folder, Shelf
from tests.support.stores.harness import StoreHarness


class ConfirmingFolder(Folder):
    """It confirms deletions and makes none."""

    def discard(self, user_id: UUID) -> None:
        pass


class HidingFolder(ConfirmingFolder):
    """A lookup by id finds nothing."""

    def __contains__(self, user_id: object) -> bool:
        return False


class ShelfHarness(StoreHarness):
    seconds = 20
    kill_at = ("tests.privacy.shelf:Shelf.require", "tests.privacy.shelf:Folder.discard")
    kills = 4

    def __init__(self, path: Path, shelf: type[Shelf] = Shelf) -> None:
        self.path = path / "shelf"
        self.path.mkdir()
        self.store = self.shelf = shelf(Folder(self.path))

    def put(self, user_id: UUID) -> None:
        (self.path / str(user_id)).touch()

    def put_under_another_key(self, user_id: UUID) -> None:
        self.shelf.loose.append(user_id)

    def has(self, user_id: UUID) -> bool:
        return (self.path / str(user_id)).exists()

    @contextmanager
    def absent(self) -> Iterator[None]:
        away = self.path.rename(self.path.with_name("away"))
        try:
            yield
        finally:
            away.rename(self.path)

    def down(self) -> AbstractContextManager[None]:
        return self._with("reachable", False)

    def slow(self) -> AbstractContextManager[None]:
        return self._with("answers_after", 60.0)

    def lying(self) -> AbstractContextManager[None]:
        return self._with("ids", ConfirmingFolder(self.path))

    def hiding(self) -> AbstractContextManager[None]:
        return self._with("ids", HidingFolder(self.path))

    def register_elsewhere(self) -> str:
        return f"""
from pathlib import Path
from privacy.registry import registry
from tests.privacy.shelf import Folder, Shelf
registry._stores = {{"shelf": Shelf(Folder(Path({str(self.path)!r})))}}
"""

    @contextmanager
    def _with(self, name: str, value: object) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(self.shelf, name, value)
            yield
