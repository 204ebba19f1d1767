"""Every personal datum has an owner: the system checks that say which has none, which has two, and which is no datum at all."""

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
    """All models at once, whatever apps are asked for: an owner may answer for another app's fields."""
    owners = list(registry.owners)
    models = models_with_personal_data(owners)
    return [*errors_of_ownership(models, owners), *errors_of_protection(filter(is_ours, models), owners)]


def models_with_personal_data(owners: Iterable[PersonalDataOwner]) -> list[type[Model]]:
    """Every model of this project's apps, every other that refers to people (Django's admin log, or what an app that is installed later keeps
    of them), and whatever else an owner names: of a model that has one, no field is left out."""
    named = {label for owner in owners for label in owner.fields}
    return [model for model in apps.get_models() if is_ours(model) or _refers_to_people(model) or model._meta.label in named]


def errors_of_ownership(models: Iterable[type[Model]], owners: Sequence[PersonalDataOwner]) -> Iterator[Error]:
    """E001 for the fields without an owner, one error a model; E002 for each with two; E003 for each name that is no field."""
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
    """The columns of the model, and its own many-to-many fields."""
    return [field.name for field in (*model._meta.concrete_fields, *model._meta.local_many_to_many)]


def is_ours(model: type[Model]) -> bool:
    return Path(apps.get_app_config(model._meta.app_label).path).parent == PROJECT


def _refers_to_people(model: type[Model]) -> bool:
    return any(
        field.is_relation and field.related_model is not None and field.related_model._meta.label == settings.AUTH_USER_MODEL
        for field in (*model._meta.concrete_fields, *model._meta.local_many_to_many)
    )


def errors_of_protection(models: Iterable[type[Model]], owners: Iterable[PersonalDataOwner]) -> Iterator[Error]:
    """E004 for fields without a rule about what an erased user's row may hold, in models that are tied to a user; E005 where the triggers of the table
    enforce something else."""
    declared = {label: protection for owner in owners for label, protection in owner.protection.items()}
    triggers = {(trigger.table, trigger.name): trigger.arguments for trigger in expected_triggers().triggers}
    for model in models:
        label, protection = model._meta.label, declared.get(model._meta.label)
        if protection is None and not _refers_to_people(model) and label != settings.AUTH_USER_MODEL:
            continue
        said = frozenset() if protection is None else {*protection.users, *protection.protected, *protection.kept}
        # Of a model without protected fields no row is left.
        if protection is None or (protection.protected and set(field_names(model)) != said):
            yield _not_said(model, sorted(said ^ set(field_names(model))))
            continue
        arguments = ", ".join(f"'{argument}'" for argument in protection.arguments(model))
        # Without protected columns no row may be written, so the table needs a trigger that sees all of them.
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
        f"{model._meta.label} has fields that no owner of personal data answers for: {', '.join(fields)}.",
        hint=f"Name them in the fields of an owner in {model._meta.app_label}/personal_data.py, which exports, anonymizes and erases them.",
        obj=model,
        id="privacy.E001",
    )


def _not_said(model: type[Model], fields: list[str]) -> Error:
    return Error(
        f"What {model._meta.label} may hold for an anonymized or deleted user is not said of {', '.join(fields)}.",
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
        hint="Leave it in the fields of one of them.",
        id="privacy.E002",
    )


def _no_such(owner: PersonalDataOwner, what: str) -> Error:
    return Error(
        f"The owner of the section {owner.section!r} names {what}, which does not exist.",
        hint=f"Take it out of the fields of {type(owner).__module__}.{type(owner).__qualname__}, or mend its name.",
        id="privacy.E003",
    )
