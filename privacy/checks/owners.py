"""Checks of the declarations of columns: owners, models without personal data, links to users, files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from django.apps import apps
from django.core.checks import Error
from django.db.models import FileField, Model, URLField

from privacy.checks.columns import IMPERSONAL_MODELS_FILE, declaring_file, field_names, foreign_keys_to_users
from privacy.declarations import Link
from privacy.registry import PersonalDataOwner


def errors_of_ownership(models: Iterable[type[Model]], owners: Sequence[PersonalDataOwner]) -> Iterator[Error]:
    """Yield E001 per model with fields without an owner, E002 per field that is declared twice, E003 per unknown name."""
    owners_of: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for owner in owners:
        for label, table in sorted(owner.tables.items()):
            yield from _errors_of_names(owner, label, [*table.fields, *(link.field for link in table.links)])
            for field in (*table.fields, *table.repeated()):
                owners_of[label, field].append(owner.section)
    for model in models:
        if without := [name for name in field_names(model) if (model._meta.label, name) not in owners_of]:
            yield _no_owner(model, without)
    for (label, field), sections in sorted(owners_of.items()):
        if len(sections) > 1:
            yield _many_owners(f"{label}.{field}", sections)


def errors_of_impersonal_models(impersonal: Mapping[str, str], owners: Sequence[PersonalDataOwner]) -> Iterator[Error]:
    """Yield E006 for each entry of ``IMPERSONAL_MODELS`` that names no model, has no reason, has an owner, or refers to users."""
    owned = {label for owner in owners for label in owner.tables}
    for label, reason in impersonal.items():
        try:
            model = apps.get_model(label)
        except (LookupError, ValueError):
            yield _impersonal(label, "no installed app has this model")
            continue
        if not reason.strip():
            yield _impersonal(label, "it has no reason")
        if label in owned:
            yield _impersonal(label, "the model has an owner of personal data too")
        elif keys := sorted(foreign_keys_to_users(model)):
            yield _impersonal(label, f"the model refers to users ({', '.join(keys)})")


def errors_of_links(models: Iterable[type[Model]], owners: Sequence[PersonalDataOwner]) -> Iterator[Error]:
    """Yield E007 for each foreign key to users that no link declares, and for each table without a link."""
    links: defaultdict[str, set[str]] = defaultdict(set)
    for label, link in _links(owners):
        links[label].add(link.field)
    owned = {label for owner in owners for label in owner.tables}
    for model in models:
        label = model._meta.label
        if missing := sorted(foreign_keys_to_users(model) - links[label]):
            yield _no_link(model, f"{label} refers to users by {', '.join(missing)}, which no link declares.")
        elif label in owned and not links[label]:
            yield _no_link(model, f"No link declares how the rows of {label} lead to a user.")


def errors_of_files(models: Iterable[type[Model]], owners: Sequence[PersonalDataOwner]) -> Iterator[Error]:
    """Yield E008 for each field with addresses of files whose declaration does not say which files they are."""
    files = {
        (label, name)
        for owner in owners
        for label, table in owner.tables.items()
        for part in table.data
        if part.files
        for name in part.fields
    }
    for model in models:
        for field in model._meta.local_concrete_fields:
            is_address = isinstance(field, FileField | URLField) or field.name.endswith("_url")
            if is_address and (model._meta.label, field.name) not in files:
                yield Error(
                    f"{model._meta.label}.{field.name} holds addresses of files, and its declaration does not name the files.",
                    hint=f"Give its declaration in {declaring_file(model)} the plural noun of the files: files=...",
                    obj=model,
                    id="privacy.E008",
                )


def _links(owners: Iterable[PersonalDataOwner]) -> Iterator[tuple[str, Link]]:
    return ((label, link) for owner in owners for label, table in owner.tables.items() for link in table.links)


def _errors_of_names(owner: PersonalDataOwner, label: str, fields: Iterable[str]) -> Iterator[Error]:
    try:
        model = apps.get_model(label)
    except (LookupError, ValueError):
        yield _no_such(owner, f"the model {label!r}")
        return
    for field in sorted(set(fields) - set(field_names(model))):
        yield _no_such(owner, f"the field {f'{label}.{field}'!r}")


def _no_owner(model: type[Model], fields: list[str]) -> Error:
    hint = f"Declare them in the tables of an owner in {declaring_file(model)}, which exports, anonymizes and erases them."
    if set(fields) == set(field_names(model)):
        hint = f"{hint} If no column can lead to a person, add the model to {IMPERSONAL_MODELS_FILE} with the reason."
    return Error(
        f"{model._meta.label} has fields without an owner of personal data: {', '.join(fields)}.",
        hint=hint,
        obj=model,
        id="privacy.E001",
    )


def _many_owners(name: str, sections: list[str]) -> Error:
    return Error(
        f"{name} has more than one owner of personal data: {', '.join(sections)}.",
        hint="Keep it in one declaration of one owner.",
        id="privacy.E002",
    )


def _no_such(owner: PersonalDataOwner, what: str) -> Error:
    return Error(
        f"The owner of the section {owner.section!r} names {what}, which does not exist.",
        hint=f"Take it out of the tables of {type(owner).__module__}.{type(owner).__qualname__}, or correct its name.",
        id="privacy.E003",
    )


def _impersonal(label: str, problem: str) -> Error:
    return Error(
        f"The entry {label!r} of IMPERSONAL_MODELS is wrong: {problem}.",
        hint=f"Correct it in {IMPERSONAL_MODELS_FILE}.",
        id="privacy.E006",
    )


def _no_link(model: type[Model], message: str) -> Error:
    return Error(message, hint=f"Declare it in the links of the table in {declaring_file(model)}.", obj=model, id="privacy.E007")
