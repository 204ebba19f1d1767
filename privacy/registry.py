"""Registry of the owners of personal data.

An app registers its personal data as it registers its admin. Its module ``personal_data.py`` registers an owner, and a store if there is data
outside PostgreSQL. ``privacy`` discovers the module.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

from django.apps import apps
from django.db import models
from django.db.models import Model, Q

from privacy.declarations import Disposition, Export, LinkKind, PersonalData, TableDeclaration
from privacy.json_schemas import Schema, section_of
from privacy.retention_rules import RetentionRule

if TYPE_CHECKING:
    from privacy.models.request_choices import Processing


@dataclass(frozen=True, slots=True)
class Effect:
    """One line of a preview or of an outcome.

    ``what`` is a plural noun ("videos"). ``count`` is None if the store is unavailable.
    """

    what: str
    count: int | None
    disposition: Disposition

    def __str__(self) -> str:
        """Return a line such as ``videos: 2, deleted``."""
        return f"{self.what}: {'unknown' if self.count is None else self.count}, {self.disposition}"


@dataclass(frozen=True, slots=True)
class Protection:
    """What the rows of one model may contain for an anonymized or deleted user. Triggers enforce it for every write.

    ``privacy/migrations/sql/0001_erased_users.up.sql`` defines the rules. Each field of the model is in exactly one of the three.
    """

    users: tuple[str, ...]
    """The fields that refer to users."""
    protected: Mapping[str, str]
    """Rule by field: ``""`` (NULL, empty or ``{}``), ``"=VALUE"``, ``"!"`` (not NULL) or ``"<"`` (a time before the erasure).

    Without rules, the user may have no row.
    """
    kept: frozenset[str] = frozenset()
    """Fields that an anonymization keeps, because they do not identify the user."""

    def arguments(self, model: type[Model]) -> list[str]:
        """Return the arguments of the triggers, with column names."""

        def column(name: str) -> str:
            return str(model._meta.get_field(name).column)  # type: ignore[union-attr]  # no relation from another table

        return [",".join(map(column, self.users)), *(f"{column(name)}{rule}" for name, rule in self.protected.items())]


class PersonalDataOwner(ABC):
    """Exports, anonymizes and erases the personal data of one app in PostgreSQL.

    Its methods run inside the caller's transaction.
    """

    section: str
    """Name of its part of an export: ``profile`` is written to ``profile.json``."""

    tables: Mapping[str, TableDeclaration]
    """The declarations of the fields that it owns, by model label (``"videos.Video"``).

    Every column of an installed app has exactly one owner, or its model is in ``IMPERSONAL_MODELS`` (``privacy.checks``).
    """

    is_last: ClassVar[bool] = False
    """Whether its section and its effects come after those of the other owners."""

    retention_rules: ClassVar[Sequence[RetentionRule]] = ()
    """Rules that an operator can switch on."""

    erasure_steps: ClassVar[Mapping[str, str]] = {}
    """The step of an erasure (``ErasureStep.Step``) by the noun of an effect, if it is not ``rows``: logins, sessions and files."""

    protection: Mapping[str, Protection] = {}
    """Protection by model label, for each model with a foreign key to users."""

    @property
    def retention(self) -> timedelta | None:
        """Return how long its rows are kept at most, or None: as long as the user."""
        return max((part.retention.period for part in self.data if part.retention.period is not None), default=None)

    @property
    def data(self) -> Iterator[PersonalData]:
        """Yield the declarations of all its tables."""
        return (part for table in self.tables.values() for part in table.data)

    @abstractmethod
    def export(self, user_id: UUID) -> Mapping[str, Any] | Iterable[Mapping[str, Any]]:
        """Return the data about the user: one object, or an iterable of objects that is read once, during the write.

        The values are those that ``json`` accepts, dates, times and UUIDs. Other users appear only as ids in the fields that are declared as links. The
        archive has pseudonyms instead. A password hash never appears.
        """

    def export_schema(self) -> Schema:
        """Return the JSON Schema of ``export``. By default the exported fields of the tables, as one row or as rows."""
        return section_of(self.tables)

    @abstractmethod
    def anonymize(self, user_id: UUID) -> None:
        """Clear or delete what identifies the user. The caller has locked the user's row."""

    @abstractmethod
    def after_anonymization(self, user_id: UUID) -> list[Effect]:
        """Return what ``anonymize`` would do, for a preview."""

    @abstractmethod
    def after_erasure(self, user_id: UUID) -> list[Effect]:
        """Return what the deletion of the user's row would delete, for a preview."""

    def after_soft_deletion(self, user_id: UUID) -> list[Effect]:
        """Return what a soft deletion would do, for a preview. By default it keeps all that an erasure deletes."""
        return [replace(effect, disposition=Disposition.KEPT) for effect in self.after_erasure(user_id)]

    def stop(self, user_id: UUID, processing: Processing) -> None:  # noqa: B027  # most owners have no data of one processing only
        """Delete what only this processing needs, after an objection or a withdrawal of consent. By default nothing."""

    def after_stop(self, user_id: UUID, processing: Processing) -> list[Effect]:
        """Return what ``stop`` would delete, for a preview. By default it keeps all that an erasure deletes."""
        return self.after_soft_deletion(user_id)

    def erase(self, user_id: UUID) -> None:  # noqa: B027  # most owners have nothing to add to the cascade
        """Delete what the cascade from the user's row does not reach, just before that row. By default nothing."""

    def files(self, user_id: UUID, *, exported: bool = False, rows: Callable[[type[Model]], Q] | None = None) -> Iterator[str]:
        """Yield the addresses of the user's files: the values of all fields whose declaration names ``files``. An address can come twice.

        With ``exported``, only the fields that an export has: a file that also shows another user is not among them. With ``rows``, only the rows of a
        model that meet the condition.

        The rows are found by the links that are foreign keys or ids. An owner with another link to files must override this.
        """
        for label, table in self.tables.items():
            parts = [part for part in table.data if part.files and not (exported and part.export is not Export.COMPLETE)]
            names = [name for part in parts for name in part.fields]
            links = [link.field for link in table.links if link.kind in (LinkKind.FOREIGN_KEY, LinkKind.ID)]
            if not names:
                continue
            if not links:
                raise NotImplementedError(f"{type(self).__qualname__} has files in {label}, and no link that finds them")
            model = apps.get_model(label)
            found = model._base_manager.filter(Q(*[(link, user_id) for link in links], _connector=Q.OR))
            if rows is not None:
                found = found.filter(rows(model))
            for addresses in found.order_by("pk").values_list(*names).iterator():
                yield from (str(address) for address in addresses if address)

    def clear_kept_row(self, user_id: UUID) -> None:  # noqa: B027  # only the owner of the user's row has something to clear
        """Clear all data in the user's row, which an erasure cannot delete while a hold keeps rows that refer to it. By default nothing."""

    def erase_many(self, user_ids: Collection[UUID]) -> None:
        """Do what ``erase`` does, for many users. By default one after another."""
        for user_id in user_ids:
            self.erase(user_id)

    def count_expired(self) -> int:
        """Return how many rows ``delete_expired`` would delete."""
        raise NotImplementedError(f"{type(self).__qualname__} has a retention and does not count what is older")

    def delete_expired(self) -> int:
        """Delete the rows of all users after the end of ``retention``, and return their number.

        It is called only if there is a ``retention``.
        """
        raise NotImplementedError(f"{type(self).__qualname__} has a retention and does not delete what is older")


class Store(ABC):
    """A store outside PostgreSQL with data of users.

    Each method raises ``StoreUnavailable`` within a limited time if the store is missing, cannot be reached or does not answer. It never returns an
    answer that it did not get from the store. ``tests/support/stores/promises.py`` checks what this class promises, for every store.
    """

    name: str
    """Name in messages, as in "The vector store cannot be reached"."""

    @property
    def contents(self) -> str:
        """Return the plural noun for the store's data in previews. They count it with ``holds``, so no owner counts it too."""
        return f"points in the {self.name}"

    @property
    @abstractmethod
    def data(self) -> tuple[PersonalData, ...]:
        """Return the declarations of all fields that the store has of a user."""

    @abstractmethod
    def stored_fields(self) -> frozenset[str]:
        """Return the fields that the code writes to the store. A system check compares them with ``data``."""

    @abstractmethod
    def session(self) -> AbstractContextManager[None]:
        """Open a session with the store. Reentrant.

        Callers enter it before any lock in PostgreSQL. It raises immediately if the store cannot be reached.
        """

    @abstractmethod
    def holds(self, user_id: UUID) -> bool:
        """Return whether the store has data of the user. This is for previews. It proves nothing after a removal: use ``remaining``."""

    def places(self, user_id: UUID) -> dict[str, int]:
        """Return how many objects of the user each place in the store has, for previews. By default the store is one place."""
        return {f"the {self.name}": 1} if self.holds(user_id) else {}

    is_projection: ClassVar[bool] = False
    """Whether its data can be made again from PostgreSQL. Only such a store loses the data of a user who is hidden and not removed."""

    @property
    def keeps_deleted_bytes(self) -> bool:
        """Return whether bytes of deleted data, or snapshots with them, can be left, until a purge says otherwise (``note_purge``)."""
        return True

    copy_command: ClassVar[str] = ""
    """The sentence that says how to copy into PostgreSQL what only the store has."""

    def has_only_copy(self, user_id: UUID) -> bool:
        """Return whether the store has data of the user that PostgreSQL lacks. By default it has copies only."""
        return False

    @abstractmethod
    def remove(self, user_id: UUID) -> bool:
        """Delete the user's data and wait for the result. Return whether there was any data.

        It is the last step of the transaction that removes the user. Until that transaction ends, it keeps other workers from writing the user
        again. Callers verify it with ``remaining``.

        A process can be killed at any moment of it. A further call then completes the removal. A call after a completed removal returns False.
        """

    @abstractmethod
    def remaining(self, user_id: UUID) -> list[str]:
        """Return the places where data of the user is found, by id and by search. An empty list verifies a removal.

        A place is a phrase for an error message, such as "the collection 'profile_embeddings_v1'". The answers of a lookup by id and of a search can
        differ, so both are needed.
        """

    def remove_many(self, user_ids: Collection[UUID]) -> None:
        """Do what ``remove`` does, for many users. By default one after another."""
        for user_id in user_ids:
            self.remove(user_id)

    def batches(self) -> AbstractContextManager[None]:
        """Keep what several calls of ``remove_many`` can share until the block ends, but no lock. By default nothing."""
        return nullcontext()

    def remaining_many(self, user_ids: Collection[UUID]) -> list[str]:
        """Return the places where data of any of the users is found, as ``remaining`` does."""
        return sorted({place for user_id in user_ids for place in self.remaining(user_id)})

    @abstractmethod
    def scan(self, user_ids: Collection[UUID]) -> frozenset[UUID]:
        """Read all data in the store, and return those of the users that any of it belongs to, under whatever key.

        It takes long, so it is called once for many users, and outside a transaction. It also reads data that no user or worker can reach any more and
        that the store has not dropped yet.
        """


class Registry:
    """Owners and stores, in the order of registration."""

    def __init__(self) -> None:
        self._owners: dict[str, PersonalDataOwner] = {}
        self._stores: dict[str, Store] = {}
        self._oldest_copies: list[Callable[[], datetime | None]] = []

    def register(self, owner: PersonalDataOwner) -> None:
        """Register an owner. Raise ValueError if another owner has the section."""
        if owner.section in self._owners:
            raise ValueError(f"section {owner.section!r} has an owner: {type(self._owners[owner.section]).__qualname__}")
        self._owners[owner.section] = owner

    def register_store(self, store: Store) -> None:
        """Register a store. Raise ValueError if another store has the name."""
        if store.name in self._stores:
            raise ValueError(f"store {store.name!r} is registered: {type(self._stores[store.name]).__qualname__}")
        self._stores[store.name] = store

    def register_copies(self, oldest: Callable[[], datetime | None]) -> None:
        """Register a function that returns how far back copies of the database reach, such as backups, or None if there are none."""
        self._oldest_copies.append(oldest)

    def oldest_copy(self) -> datetime | None:
        """Return the time of the oldest data in a registered copy, or None if there is no copy."""
        return min((time for oldest in self._oldest_copies if (time := oldest()) is not None), default=None)

    @property
    def owners(self) -> Iterator[PersonalDataOwner]:
        return iter(sorted(self._owners.values(), key=lambda owner: owner.is_last))

    @property
    def stores(self) -> Iterator[Store]:
        return iter(self._stores.values())


registry = Registry()


def columns_of(model: type[models.Model], *, without: frozenset[str] = frozenset()) -> list[str]:
    """Return all column names for ``values()``, except the fields ``without``. A new column is exported automatically."""
    return [field.attname for field in model._meta.concrete_fields if field.name not in without]
