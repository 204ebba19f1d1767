"""Who answers for which personal datum.

An app takes part in privacy as it takes part in the admin: its module ``personal_data.py`` registers an owner (and, where the data also lie
outside PostgreSQL, a store), and ``privacy`` discovers it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import Any, ClassVar
from uuid import UUID

from django.db import models
from django.db.models import Model


class Disposition(StrEnum):
    """What happens to data when a user is removed."""

    KEPT = "kept"
    HIDDEN = "hidden"
    CLEARED = "cleared"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Effect:
    """One line of a preview or of an outcome: COUNT of WHAT (a plural noun: "videos") and their DISPOSITION. The count is None where it is
    not known, since the store that would tell it cannot be reached."""

    what: str
    count: int | None
    disposition: Disposition

    def __str__(self) -> str:
        """``videos: 2, deleted``"""
        return f"{self.what}: {'unknown' if self.count is None else self.count}, {self.disposition}"


@dataclass(frozen=True, slots=True)
class Protection:
    """What the rows of one model may hold for a user who was anonymized or deleted for good. Triggers enforce it for every way of writing.

    ``privacy/migrations/sql/0001_erased_users.up.sql`` has the rules. Each field of the model stands in one of the three.
    """

    users: tuple[str, ...]
    """The fields that name users."""
    protected: Mapping[str, str]
    """By field: ``""`` (NULL, empty or ``{}``), ``"=VALUE"``, ``"!"`` (not NULL) or ``"<"`` (a time before the erasure). Empty: no row at all."""
    kept: frozenset[str] = frozenset()
    """What an anonymization leaves as it is, since it identifies no one."""

    def arguments(self, model: type[Model]) -> list[str]:
        """Return the arguments of the triggers that enforce it, by the names of the columns."""

        def column(name: str) -> str:
            return str(model._meta.get_field(name).column)  # type: ignore[union-attr]  # no relation from another table

        return [",".join(map(column, self.users)), *(f"{column(name)}{rule}" for name, rule in self.protected.items())]


class PersonalDataOwner(ABC):
    """Answers for the personal data of one app in PostgreSQL. Its methods run inside the caller's transaction."""

    section: str
    """The name of its part of an export: ``profile`` is written to ``profile.json``."""

    fields: Mapping[str, frozenset[str]]
    """The fields that it answers for, by model label (``"videos.Video"``). Every concrete field of a model of this project stands with exactly
    one owner (``privacy.checks``)."""

    is_last: ClassVar[bool] = False
    """Whether its section and its effects come after those of the others."""

    protection: Mapping[str, Protection] = {}
    """By model label, for each model whose rows a foreign key ties to a user."""

    retention: ClassVar[timedelta | None] = None
    """How long its rows are kept at the most. None: as long as the user."""

    @abstractmethod
    def export(self, user_id: UUID) -> Mapping[str, Any] | Iterable[Mapping[str, Any]]:
        """What is held about the person: one object, or any number of them, which may be an iterator that is read once, as it is written.

        Its values are what ``json`` takes, and dates, times and UUIDs. Other people appear as ids only; a password hash never.
        """

    @abstractmethod
    def anonymize(self, user_id: UUID) -> None:
        """Clear or delete what identifies the person; the caller holds their row's lock."""

    @abstractmethod
    def after_anonymization(self, user_id: UUID) -> list[Effect]:
        """What ``anonymize`` would do now, for a preview."""

    @abstractmethod
    def after_erasure(self, user_id: UUID) -> list[Effect]:
        """What deleting the person's row takes along, for a preview."""

    def after_soft_deletion(self, user_id: UUID) -> list[Effect]:
        """What hiding the person does, for a preview: unless an owner says otherwise, all that an erasure would delete is kept."""
        return [replace(effect, disposition=Disposition.KEPT) for effect in self.after_erasure(user_id)]

    def erase(self, user_id: UUID) -> None:  # noqa: B027  # most owners have nothing to add to the cascade
        """Delete what the cascade from the person's row does not reach, right before that row is deleted: nothing, unless an owner says so."""

    def delete_expired(self) -> int:
        """Delete the rows whose ``retention`` is over, of all users, and return how many rows it was. Called only if there is a ``retention``."""
        raise NotImplementedError(f"{type(self).__qualname__} has a retention and does not delete what is older")


class Store(ABC):
    """A store outside PostgreSQL that holds something of people. Its methods raise ``StoreUnavailable`` where it cannot be reached."""

    name: str
    """As in "The vector store cannot be reached"."""

    @property
    def contents(self) -> str:
        """What the previews call that which it holds of a person. They count it by ``holds``: no owner counts it once more."""
        return f"points in the {self.name}"

    @abstractmethod
    def session(self) -> AbstractContextManager[None]:
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
        return iter(sorted(self._owners.values(), key=lambda owner: owner.is_last))

    @property
    def stores(self) -> Iterator[Store]:
        return iter(self._stores.values())


registry = Registry()


def columns_of(model: type[models.Model], *, without: frozenset[str] = frozenset()) -> list[str]:
    """The names, for ``values()``, of all columns but those of the fields WITHOUT: a new column is exported without anybody's doing."""
    return [field.attname for field in model._meta.concrete_fields if field.name not in without]
