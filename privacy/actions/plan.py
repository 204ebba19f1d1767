"""The plan of an erasure: what is deleted, cleared and kept, with counts.

The digest covers what is done and not how often. So the counts may grow after the approval, and any other change is noticed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from uuid import UUID

from django.apps import apps
from django.conf import settings
from django.db import connection
from django.db.models import Model, Q

from privacy.actions.erase_files import stored_files
from privacy.actions.held_rows import files_of_rows
from privacy.actions.holds import active_holds
from privacy.declarations import Disposition, Link, LinkKind, TableDeclaration
from privacy.file_stores.addresses import Elsewhere
from privacy.file_stores.stored_file import locate
from privacy.ledger.book import POLICY_VERSION
from privacy.models import COUNTED, Erasure
from privacy.registry import registry

KEPT_ELSEWHERE = "files_kept"


@dataclass(frozen=True, slots=True)
class Plan:
    """``counts`` are the columns of the table ``erasures``, and ``shape`` is what the digest covers: only JSON values, without counts."""

    counts: Mapping[str, int]
    shape: Mapping[str, Any]
    policy_version: int = POLICY_VERSION

    @property
    def digest(self) -> bytes:
        import rfc8785  # imported late, because every command imports this module

        return sha256(rfc8785.dumps(self.shape)).digest()

    def differences(self, sealed: Erasure) -> list[str]:
        """Return what differs from an approved plan, as phrases. An empty list: nothing but the counts."""
        if self.digest == bytes(sealed.plan_digest):
            return []
        new = [f"new: {name}" for name in sorted(self.counts.keys() - sealed.plan.keys())]
        gone = [f"gone: {name}" for name in sorted(sealed.plan.keys() - self.counts.keys())]
        if self.policy_version != sealed.policy_version:
            new.append(f"policy version {self.policy_version} instead of {sealed.policy_version}")
        return [*new, *gone] or ["the columns that are kept, the fields of a store, or the file stores"]


def plan_erasure(user_id: UUID) -> Plan:
    """Return the plan for the user. It asks no store, so it counts nothing there.

    A count of 0 is also that of a table whose rows are found only by their content, such as the sessions.
    """
    holds = sorted({(held.section, held.article) for held in active_holds(user_id)})
    tables = {model._meta.db_table: (model, table) for model, table in _tables()}
    files_deleted, files_kept = _count_files(user_id)
    stores = {store.name: store for store in registry.stores}
    shape = {
        "policy": POLICY_VERSION,
        "tables": {name: _shape_of(model, table) for name, (model, table) in tables.items()},
        "stores": {name: sorted({field for part in store.data for field in part.fields}) for name, store in stores.items()},
        "files": {"stores": sorted(settings.FILE_STORES), "kept": bool(files_kept)},
        "holds": [[section, article] for section, article in holds],
        "backups": settings.BACKUP_RETENTION_DAYS,
    }
    counts = {
        **dict(_count_rows(user_id, tables)),
        **dict.fromkeys(_store_names(), 0),
        **{f"hold.{section}.{article}": 1 for section, article in holds},
        "files_deleted": files_deleted,
    }
    if files_kept:
        counts[KEPT_ELSEWHERE] = files_kept
    if settings.BACKUP_RETENTION_DAYS:
        counts["backup_days"] = settings.BACKUP_RETENTION_DAYS
    return Plan(counts, shape)


def _tables() -> Iterator[tuple[type[Model], TableDeclaration]]:
    for owner in registry.owners:
        for label, table in owner.tables.items():
            yield apps.get_model(label), table


def _shape_of(model: type[Model], table: TableDeclaration) -> dict[str, list[str]]:
    """Return the columns that stay, those that are cleared, and the links whose rows have a fate of their own."""
    by_fate: dict[str, list[str]] = {}
    for part in table.data:
        by_fate.setdefault(str(part.erase), []).extend(model._meta.get_field(name).name for name in part.fields)
    fates = {fate: sorted(names) for fate, names in by_fate.items() if fate != Disposition.DELETED}
    if Disposition.DELETED in by_fate:
        fates[str(Disposition.DELETED)] = []  # a new column that is deleted too changes nothing
    return fates | {"links": sorted(f"{link.field} {link.erase}" for link in table.links if link.erase is not None)}


def _fate(table: TableDeclaration) -> str:
    fates = {part.erase for part in table.data}
    return next((str(fate) for fate in (Disposition.DELETED, Disposition.CLEARED) if fate in fates), str(Disposition.KEPT))


def _count_rows(user_id: UUID, tables: Mapping[str, tuple[type[Model], TableDeclaration]]) -> Iterator[tuple[str, int]]:
    """Yield name and count of each table, by one query."""
    names: list[str] = []
    queries: list[tuple[str, tuple[Any, ...]]] = []
    for name, (model, table) in tables.items():
        links = [(link, _condition(link, user_id)) for link in table.links]
        for fate in sorted({str(link.erase or _fate(table)) for link, _ in links} or {_fate(table)}):
            of_fate = [condition for link, condition in links if str(link.erase or _fate(table)) == fate]
            names.append(f"{fate}.{name}")
            queries += [_count_query(model, [condition for condition in of_fate if condition is not None])]
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {', '.join(sql for sql, _ in queries)}",
            [value for _, values in queries for value in values],
        )
        yield from zip(names, cursor.fetchone(), strict=True)


def _condition(link: Link, user_id: UUID) -> tuple[str, Any] | None:
    match link.kind:
        case LinkKind.FOREIGN_KEY | LinkKind.ID:
            return link.field, user_id
        case LinkKind.TEXT:
            return link.field, str(user_id)
        case LinkKind.ROW:
            return f"{link.field}__user_id", user_id
    return None


def _count_query(model: type[Model], conditions: Collection[tuple[str, Any]]) -> tuple[str, tuple[Any, ...]]:
    if not conditions:
        return "0", ()
    found = model._base_manager.filter(Q(*conditions, _connector=Q.OR)).order_by().values("pk")
    sql, values = found.query.sql_with_params()
    return f"(SELECT count(*) FROM ({sql}) AS found)", values  # noqa: S608  # made by Django


def _store_names() -> Iterator[str]:
    for store in registry.stores:
        name = store.name.replace(" ", "_")
        yield f"store.{name if name in COUNTED else 'other'}"


def _count_files(user_id: UUID) -> tuple[int, int]:
    """Return the numbers of files that are deleted and that are kept, because no store has them. Files that a hold keeps are in neither."""
    addresses = {address for owner in registry.owners for address in files_of_rows(owner, user_id, is_held=False)}
    return sum(1 for _ in stored_files(user_id)), sum(isinstance(locate(address), Elsewhere) for address in addresses)
