"""The register of processing activities (GDPR, article 30 (1)), from the declarations of the owners and the stores.

The software knows the purposes, the data, the recipients and the time limits. The operator states the rest in the settings: the controller, the
data protection officer, transfers to other countries, and the security measures.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from django.apps import apps
from django.conf import settings

from privacy.declarations import PersonalData, Purpose
from privacy.registry import registry
from privacy.retention_policy import current_policy
from privacy.retention_rules import RetentionRule, UserRule

Rules = Sequence[tuple[RetentionRule, int]]

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

    ``places`` are the columns by table, and the fields by store. ``time_limits`` has the declared ones first, then those of approved rules.
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
    """The register.

    ``stated`` has the texts of the operator by setting, and ``missing`` the settings without a text. ``accounts_erased`` says which accounts the approved
    rules of ``RETENTION_RULES`` erase, and when. ``rules_not_approved`` is the version of rules that are left out because they delete nothing yet.
    """

    stated: dict[str, str]
    missing: list[str]
    accounts_erased: list[str]
    rules_not_approved: str
    activities: list[Activity]
    models_without_personal_data: dict[str, str]


def processing_register() -> ProcessingRegister:
    """Return the register of all declared data. The only row that it reads is the approval of the rules of retention, if there are any."""
    policy = current_policy()
    approved = policy.is_approved()
    rules = policy.in_turn if approved else []
    parts: defaultdict[Purpose, list[_Field]] = defaultdict(list)
    for field in _declared():
        parts[field.part.purpose].append(field)
    stated = {name: str(getattr(settings, name)) for name in STATED_BY_OPERATOR}
    return ProcessingRegister(
        stated=stated,
        missing=[name for name, text in stated.items() if not text.strip()],
        accounts_erased=[_limit(rule, days) for rule, days in rules if isinstance(rule, UserRule)],
        rules_not_approved="" if approved else policy.version,
        activities=[_activity(purpose, found, rules) for purpose, found in sorted(parts.items(), key=lambda item: item[0].name)],
        models_without_personal_data=dict(settings.IMPERSONAL_MODELS),
    )


class _Field(NamedTuple):
    """A field with its declaration. ``rules`` are those that its owner offers."""

    part: PersonalData
    place: str
    name: str
    rules: Sequence[RetentionRule] = ()


def _declared() -> Iterator[_Field]:
    """Yield each field of each table and store."""
    for owner in registry.owners:
        for label, table in owner.tables.items():
            model = apps.get_model(label)
            for part in table.data:
                for name in part.fields:
                    field = model._meta.get_field(name)
                    # A many-to-many field has no column: its rows are in a table of their own.
                    yield _Field(part, model._meta.db_table, getattr(field, "column", None) or name, owner.retention_rules)
    for store in registry.stores:
        for part in store.data:
            for name in part.fields:
                yield _Field(part, store.name, name)


def _activity(purpose: Purpose, found: list[_Field], rules: Rules) -> Activity:
    by_category: defaultdict[str, list[_Field]] = defaultdict(list)
    for field in found:
        by_category[field.part.category].append(field)
    return Activity(
        purpose=purpose.name,
        legal_bases=list(purpose.legal_bases),
        data_subjects=list(purpose.data_subjects),
        categories=[_category(category, fields, rules) for category, fields in sorted(by_category.items())],
    )


def _category(category: str, fields: list[_Field], rules: Rules) -> CategoryOfData:
    places: defaultdict[str, list[str]] = defaultdict(list)
    for field in fields:
        places[field.place].append(field.name)
    declared = [str(field.part.retention) for field in fields]
    active = [
        _limit(rule, days)
        for rule, days in rules
        if rule.category == category and not isinstance(rule, UserRule) and any(rule in field.rules for field in fields)
    ]
    return CategoryOfData(
        category=str(category),
        recipients=_distinct(recipient for field in fields for recipient in field.part.recipients),
        time_limits=_distinct([*declared, *active]),
        places=dict(places),
    )


def _limit(rule: RetentionRule, days: int) -> str:
    return f"{rule.what}: {days} days after {rule.since}"


def _distinct(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))
