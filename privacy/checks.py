"""System checks: every field with personal data has exactly one owner."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.db.models import Model

from findme.core.triggers.definitions import expected_triggers
from privacy.registry import PersonalDataOwner, registry

PROJECT = Path(__file__).resolve().parent.parent


def check_owners(**_app_configs_and_databases: Any) -> list[CheckMessage]:
    """Check all models, whatever apps are selected: an owner can own fields of another app."""
    owners = list(registry.owners)
    models = models_with_personal_data(owners)
    return [*errors_of_ownership(models, owners), *errors_of_protection(filter(is_ours, models), owners)]


def models_with_personal_data(owners: Iterable[PersonalDataOwner]) -> list[type[Model]]:
    """Return the models of this project, all models that refer to users, and all models that an owner names.

    Models that refer to users include Django's admin log and the models of apps that are installed later. For a model with an owner, all fields
    are checked.
    """
    named = {label for owner in owners for label in owner.fields}
    return [model for model in apps.get_models() if is_ours(model) or _refers_to_users(model) or model._meta.label in named]


def errors_of_ownership(models: Iterable[type[Model]], owners: Sequence[PersonalDataOwner]) -> Iterator[Error]:
    """Yield E001 per model with fields without an owner, E002 per field with several owners, E003 per unknown name."""
    owners_of: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for owner in owners:
        for label, fields in sorted(owner.fields.items()):
            yield from _errors_of_names(owner, label, fields)
            for field in fields:
                owners_of[label, field].append(owner.section)
    for model in models:
        if without := [name for name in field_names(model) if (model._meta.label, name) not in owners_of]:
            yield _no_owner(model, without)
    for (label, field), sections in sorted(owners_of.items()):
        if len(sections) > 1:
            yield _many_owners(f"{label}.{field}", sections)


def field_names(model: type[Model]) -> list[str]:
    """Return the columns of the model and its own many-to-many fields."""
    return [field.name for field in (*model._meta.concrete_fields, *model._meta.local_many_to_many)]


def is_ours(model: type[Model]) -> bool:
    return Path(apps.get_app_config(model._meta.app_label).path).parent == PROJECT


def _refers_to_users(model: type[Model]) -> bool:
    return any(
        field.is_relation and field.related_model is not None and field.related_model._meta.label == settings.AUTH_USER_MODEL
        for field in (*model._meta.concrete_fields, *model._meta.local_many_to_many)
    )


def errors_of_protection(models: Iterable[type[Model]], owners: Iterable[PersonalDataOwner]) -> Iterator[Error]:
    """Yield E004 and E005 for the protection of erased users.

    E004: a model that refers to a user has fields without a rule for erased users. E005: the triggers of the table enforce other rules.
    """
    declared = {label: protection for owner in owners for label, protection in owner.protection.items()}
    triggers = {(trigger.table, trigger.name): trigger.arguments for trigger in expected_triggers().triggers}
    for model in models:
        label, protection = model._meta.label, declared.get(model._meta.label)
        if protection is None and not _refers_to_users(model) and label != settings.AUTH_USER_MODEL:
            continue
        declared_fields = frozenset() if protection is None else {*protection.users, *protection.protected, *protection.kept}
        # Without protected fields, an erasure deletes all rows of the user.
        if protection is None or (protection.protected and set(field_names(model)) != declared_fields):
            yield _not_covered(model, sorted(declared_fields ^ set(field_names(model))))
            continue
        arguments = ", ".join(f"'{argument}'" for argument in protection.arguments(model))
        # Without protected columns, no row may be written, so a trigger must cover all columns.
        for event in ("inserted", "updated") if protection.protected else ("inserted", "updated", "changed"):
            if triggers.get((model._meta.db_table, f"erased_users_{event}")) != arguments:
                yield _not_enforced(model, f"erased_users_{event}", arguments)


def _errors_of_names(owner: PersonalDataOwner, label: str, fields: Iterable[str]) -> Iterator[Error]:
    try:
        model = apps.get_model(label)
    except (LookupError, ValueError):
        yield _no_such(owner, f"the model {label!r}")
        return
    for field in sorted(set(fields) - set(field_names(model))):
        yield _no_such(owner, f"the field {f'{label}.{field}'!r}")


def _no_owner(model: type[Model], fields: list[str]) -> Error:
    return Error(
        f"{model._meta.label} has fields without an owner of personal data: {', '.join(fields)}.",
        hint=f"Name them in the fields of an owner in {model._meta.app_label}/personal_data.py, which exports, anonymizes and erases them.",
        obj=model,
        id="privacy.E001",
    )


def _not_covered(model: type[Model], fields: list[str]) -> Error:
    return Error(
        f"The Protection of {model._meta.label} does not cover the fields {', '.join(fields)}.",
        hint=f"Name each field once in the Protection of the model in {model._meta.app_label}/personal_data.py.",
        obj=model,
        id="privacy.E004",
    )


def _not_enforced(model: type[Model], trigger: str, arguments: str) -> Error:
    return Error(
        f"The trigger {trigger} on {model._meta.db_table} does not enforce the Protection of {model._meta.label}.",
        hint=f"Write a migration with a new SQL file that creates it with the arguments {arguments}, and name the file in trigger_files.",
        obj=model,
        id="privacy.E005",
    )


def _many_owners(name: str, sections: list[str]) -> Error:
    return Error(
        f"{name} has more than one owner of personal data: {', '.join(sections)}.",
        hint="Keep it in the fields of one owner.",
        id="privacy.E002",
    )


def _no_such(owner: PersonalDataOwner, what: str) -> Error:
    return Error(
        f"The owner of the section {owner.section!r} names {what}, which does not exist.",
        hint=f"Take it out of the fields of {type(owner).__module__}.{type(owner).__qualname__}, or correct its name.",
        id="privacy.E003",
    )
