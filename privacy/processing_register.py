"""The register of processing activities (GDPR, article 30 (1)), from the declarations of the owners and the stores.

The software knows the purposes, the data, the recipients and the time limits. The operator states the rest in the settings: the controller, the
data protection officer, transfers to other countries, and the security measures.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from django.apps import apps
from django.conf import settings

from privacy.declarations import PersonalData, Purpose
from privacy.registry import registry

STATED_BY_OPERATOR = {
    "PRIVACY_CONTROLLER": "Name and contact details of the controller",
    "PRIVACY_OFFICER": "Contact details of the data protection officer",
    "PRIVACY_TRANSFERS": "Transfers of personal data to countries outside the European Union",
    "PRIVACY_SECURITY_MEASURES": "Technical and organizational security measures",
}
"""What article 30 also demands, by the setting in which the operator states it."""


@dataclass(frozen=True, slots=True)
class CategoryOfData:
    """The data of one category that one purpose needs.

    ``places`` are the columns by table, and the fields by store.
    """

    category: str
    recipients: list[str]
    time_limits: list[str]
    places: dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class Activity:
    """The processing for one purpose."""

    purpose: str
    legal_bases: list[str]
    data_subjects: list[str]
    categories: list[CategoryOfData]


@dataclass(frozen=True, slots=True)
class ProcessingRegister:
    """The register. ``stated`` has the texts of the operator by setting, and ``missing`` the settings without a text."""

    stated: dict[str, str]
    missing: list[str]
    activities: list[Activity]
    models_without_personal_data: dict[str, str]


def processing_register() -> ProcessingRegister:
    """Return the register of all declared data. It reads no row."""
    parts: defaultdict[Purpose, list[tuple[PersonalData, str, str]]] = defaultdict(list)
    for part, place, name in _declared():
        parts[part.purpose].append((part, place, name))
    stated = {name: str(getattr(settings, name)) for name in STATED_BY_OPERATOR}
    return ProcessingRegister(
        stated=stated,
        missing=[name for name, text in stated.items() if not text.strip()],
        activities=[_activity(purpose, found) for purpose, found in sorted(parts.items(), key=lambda item: item[0].name)],
        models_without_personal_data=dict(settings.IMPERSONAL_MODELS),
    )


def _declared() -> Iterator[tuple[PersonalData, str, str]]:
    """Yield each declaration with the table or store and the name of each of its fields."""
    for owner in registry.owners:
        for label, table in owner.tables.items():
            model = apps.get_model(label)
            for part in table.data:
                for name in part.fields:
                    field = model._meta.get_field(name)
                    # A many-to-many field has no column: its rows are in a table of their own.
                    yield part, model._meta.db_table, getattr(field, "column", None) or name
    for store in registry.stores:
        for part in store.data:
            for name in part.fields:
                yield part, store.name, name


def _activity(purpose: Purpose, found: list[tuple[PersonalData, str, str]]) -> Activity:
    by_category: defaultdict[str, list[tuple[PersonalData, str, str]]] = defaultdict(list)
    for part, place, name in found:
        by_category[part.category].append((part, place, name))
    return Activity(
        purpose=purpose.name,
        legal_bases=list(purpose.legal_bases),
        data_subjects=list(purpose.data_subjects),
        categories=[_category(category, parts) for category, parts in sorted(by_category.items())],
    )


def _category(category: str, parts: list[tuple[PersonalData, str, str]]) -> CategoryOfData:
    places: defaultdict[str, list[str]] = defaultdict(list)
    for _, place, name in parts:
        places[place].append(name)
    return CategoryOfData(
        category=str(category),
        recipients=_distinct(recipient for part, *_ in parts for recipient in part.recipients),
        time_limits=_distinct(str(part.retention) for part, *_ in parts),
        places=dict(places),
    )


def _distinct(texts: Iterator[str]) -> list[str]:
    return list(dict.fromkeys(texts))
