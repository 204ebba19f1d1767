"""Checks of the protection of erased users, which triggers enforce."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from django.conf import settings
from django.core.checks import Error
from django.db.models import Model

from findme.core.triggers.definitions import expected_triggers
from privacy.checks.columns import field_names, refers_to_users
from privacy.declarations import Disposition
from privacy.registry import PersonalDataOwner, Protection


def errors_of_protection(models: Iterable[type[Model]], owners: Iterable[PersonalDataOwner]) -> Iterator[Error]:
    """Yield E004 and E005 for the protection of erased users.

    E004: a model that refers to a user has fields without a rule for erased users. E005: the triggers of the table enforce other rules.
    """
    declared = {label: protection for owner in owners for label, protection in owner.protection.items()}
    triggers = {(trigger.table, trigger.name): trigger.arguments for trigger in expected_triggers().triggers}
    for model in models:
        label, protection = model._meta.label, declared.get(model._meta.label)
        if protection is None and not refers_to_users(model) and label != settings.AUTH_USER_MODEL:
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


def errors_of_disposition(owners: Iterable[PersonalDataOwner]) -> Iterator[Error]:
    """Yield E010 for each field whose declaration and ``Protection`` disagree about an anonymization.

    Both are about the same columns. The triggers force a field that is cleared to stay empty or constant.
    """
    for owner in owners:
        for label, protection in owner.protection.items():
            dispositions = {name: part.anonymize for part in owner.tables[label].data for name in part.fields}
            for name, disposition in dispositions.items():
                if (disposition is Disposition.CLEARED) != _is_emptied(protection, name):
                    yield Error(
                        f"The declaration of {label}.{name} says that an anonymization leaves it {disposition}, and its Protection does not.",
                        hint=f"Correct one of them in {type(owner).__module__.replace('.', '/')}.py.",
                        id="privacy.E010",
                    )


def _is_emptied(protection: Protection, name: str) -> bool:
    """Return whether the rule of the field lets an erased user have no value or one constant value only."""
    rule = protection.protected.get(name)
    return rule is not None and (rule == "" or rule.startswith("="))


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
