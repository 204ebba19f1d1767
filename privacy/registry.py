"""Who answers for which personal datum.

An app takes part in privacy as it takes part in the admin: its module ``personal_data.py`` registers an owner (and, where the data also lie
outside PostgreSQL, a store), and ``privacy`` discovers it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID


class Fate(StrEnum):
    """What becomes of a datum when a person leaves."""

    KEPT = "kept"
    CLEARED = "cleared"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Consequence:
    """One line of a preview: COUNT of WHAT (a plural noun: "videos", "points in the vector store") will be FATE."""

    what: str
    count: int
    fate: Fate


class PersonalDataOwner(ABC):
    """Answers for the personal data of one app in PostgreSQL. Its methods run inside the caller's transaction."""

    section: str
    """The name of its part of an export: ``profile`` is written to ``profile.json``."""

    fields: Mapping[str, frozenset[str]]
    """The fields that it answers for, by model label (``"videos.Video"``). Every concrete field of a model of this project stands with exactly
    one owner."""

    @abstractmethod
    def export(self, user_id: UUID) -> Any:
        """What is held about the person, ready for JSON. Other people appear as ids only; a password hash never."""

    @abstractmethod
    def anonymise(self, user_id: UUID) -> None:
        """Clear or delete what identifies the person; the caller holds their row's lock."""

    @abstractmethod
    def after_anonymisation(self, user_id: UUID) -> list[Consequence]:
        """What ``anonymise`` would do now, for a preview."""

    @abstractmethod
    def after_erasure(self, user_id: UUID) -> list[Consequence]:
        """What deleting the person's row takes along, for a preview."""


class Store(ABC):
    """A store outside PostgreSQL that holds something of people. Its methods raise ``StoreUnavailable`` where it cannot be reached."""

    name: str
    """As in "The vector store cannot be reached"."""

    @abstractmethod
    def reached(self) -> AbstractContextManager[None]:
        """Hold the store, before anything is locked in PostgreSQL: raises at once where it cannot be reached. Reentrant."""

    @abstractmethod
    def holds(self, user_id: UUID) -> bool:
        """Whether anything of the person is in it."""

    @abstractmethod
    def remove(self, user_id: UUID) -> bool:
        """Delete what it holds of the person, wait until that is done, and read it back; whether there was anything.

        Called inside the transaction that removes the person, as its last step: it keeps others from writing the person again until that
        transaction ends.
        """


class Registry:
    """The owners and the stores, in the order of registration."""

    def __init__(self) -> None:
        self._owners: dict[str, PersonalDataOwner] = {}
        self._stores: dict[str, Store] = {}

    def register(self, owner: PersonalDataOwner) -> None:
        """Raises ValueError if another owner has the section."""
        if owner.section in self._owners:
            raise ValueError(f"section {owner.section!r} has an owner: {type(self._owners[owner.section]).__qualname__}")
        self._owners[owner.section] = owner

    def register_store(self, store: Store) -> None:
        """Raises ValueError if another store has the name."""
        if store.name in self._stores:
            raise ValueError(f"store {store.name!r} is registered: {type(self._stores[store.name]).__qualname__}")
        self._stores[store.name] = store

    @property
    def owners(self) -> Iterator[PersonalDataOwner]:
        return iter(self._owners.values())

    @property
    def stores(self) -> Iterator[Store]:
        return iter(self._stores.values())


registry = Registry()
