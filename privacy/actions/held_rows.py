"""Rows that a hold keeps, by the declarations of their owners, their files, and the deletion of all others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.apps import apps
from django.db.models import Exists, Model, OuterRef, Q, QuerySet

from privacy.declarations import LinkKind
from privacy.models.holds import Section, held_rows
from privacy.registry import PersonalDataOwner, registry


def user_fields_of(section: str) -> Iterator[tuple[type[Model], tuple[str, ...]]]:
    """Yield the tables of a section whose rows are deleted with the user's row, with their foreign keys to users."""
    for owner in registry.owners:
        if owner.section == section:
            yield from _user_fields(owner)


def _user_fields(owner: PersonalDataOwner) -> Iterator[tuple[type[Model], tuple[str, ...]]]:
    for label, table in owner.tables.items():
        if fields := tuple(link.field for link in table.links if link.kind is LinkKind.FOREIGN_KEY):
            yield apps.get_model(label), fields


def held(section: str, model: type[Model], fields: tuple[str, ...]) -> Q:
    """Return the condition for rows that a hold keeps: on their own section, or on rows that refer to them and would be deleted with them."""
    condition = held_rows(section, fields) if section in Section.values else Q(pk__in=[])
    for other in Section.values:
        for referring, users in user_fields_of(other) if other != section else ():
            for relation in model._meta.related_objects:
                if relation.related_model is referring:
                    condition |= Q(Exists(referring._base_manager.filter(held_rows(other, users), **{relation.field.name: OuterRef("pk")})))
    return condition


def rows_of(owner: PersonalDataOwner, user_id: UUID) -> Iterator[tuple[QuerySet[Any], Q]]:
    """Yield for each table of the owner the rows that are deleted with the user's row, and the condition for those that a hold keeps."""
    for model, fields in _user_fields(owner):
        of_user = Q()
        for field in fields:
            of_user |= Q(**{field: user_id})
        yield model._base_manager.filter(of_user), held(owner.section, model, fields)


def delete_rows_without_hold(user_id: UUID) -> None:
    """Delete the rows that the cascade from the user's row would delete, except those that a hold keeps."""
    for owner in reversed(list(registry.owners)):  # calls before matches: rows before those that they refer to
        for rows, kept in rows_of(owner, user_id):
            rows.exclude(kept).delete()


def files_of_rows(owner: PersonalDataOwner, user_id: UUID, *, is_held: bool) -> Iterator[str]:
    """Yield the addresses of the user's files in the rows that a hold keeps, or in all others."""
    fields_by_model = dict(_user_fields(owner))

    def rows(model: type[Model]) -> Q:
        kept = held(owner.section, model, fields_by_model.get(model, ()))
        return kept if is_held else ~kept

    return owner.files(user_id, rows=rows)


def count_held_rows(owner: PersonalDataOwner, user_id: UUID) -> int:
    return sum(rows.filter(kept).count() for rows, kept in rows_of(owner, user_id))
