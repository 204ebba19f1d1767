"""The register of processing activities."""

import json
from dataclasses import asdict

import pytest
from django.apps import apps
from django.test import override_settings
from pytest_django import Settings

from findme.impersonal_models import IMPERSONAL_MODELS
from privacy.declarations import Purpose
from privacy.processing_register import STATED_BY_OPERATOR, processing_register
from privacy.registry import registry
from privacy.retention_policy import approve, current_policy
from tests.support.commands import manage_here

STATED = {
    "PRIVACY_CONTROLLER": "FindMe GmbH, Berlin",
    "PRIVACY_OFFICER": "officer@findme.example",
    "PRIVACY_TRANSFERS": "none",
    "PRIVACY_SECURITY_MEASURES": "encryption in transit and at rest",
}


def test_register__has_every_column_of_every_owned_model_once_per_declaration() -> None:
    places = [
        (place, name) for activity in processing_register().activities for data in activity.categories for place, name in names(data.places)
    ]
    assert len(places) == len(set(places))
    for model in apps.get_models():
        if model._meta.label not in IMPERSONAL_MODELS:
            columns = {(model._meta.db_table, field.column) for field in model._meta.local_concrete_fields}
            assert columns <= set(places), model
    for store in registry.stores:
        assert {(store.name, name) for name in store.stored_fields()} <= set(places)


def names(places: dict[str, list[str]]) -> list[tuple[str, str]]:
    return [(place, name) for place, found in places.items() for name in found]


def test_register__email() -> None:
    (account,) = (activity for activity in processing_register().activities if activity.purpose == "the user's account")
    assert account.legal_bases == ["6(1)(b)"]
    assert account.data_subjects == ["users"]
    (contact,) = (data for data in account.categories if data.category == "contact details")
    assert contact.places == {"users": ["email"]}
    assert contact.time_limits == ["until the account is erased"]


def test_register__names_what_the_operator_has_not_stated() -> None:
    with override_settings(**dict.fromkeys(STATED_BY_OPERATOR, " ")):
        assert processing_register().missing == list(STATED_BY_OPERATOR)
    with override_settings(**STATED):
        register = processing_register()
    assert (register.missing, register.stated) == ([], STATED)


RULES = {"hidden_users": 30, "call_recordings": 90, "matches": 730}


@pytest.mark.django_db
def test_register__has_the_time_limits_of_approved_rules(settings: Settings) -> None:
    settings.RETENTION_RULES = RULES
    register, version = processing_register(), current_policy().version
    assert (register.accounts_erased, register.rules_not_approved) == ([], version)
    assert "730 days" not in str(register)
    approve(current_policy(), version)
    register = processing_register()
    assert (register.accounts_erased, register.rules_not_approved) == (["softly deleted users: 30 days after the deletion"], "")
    limits = {
        (activity.purpose, data.category): data.time_limits
        for activity in register.activities
        for data in activity.categories
        if any("730 days" in limit or "90 days" in limit for limit in data.time_limits)
    }
    assert limits == {
        ("matches between users", "matches"): ["until the account is erased", "matches without a call: 730 days after their creation"],
        ("video calls between matched users", "videos and recordings"): [
            *("until the account is erased", "addresses of recordings and metadata of calls: 90 days after the call")
        ],
    }
    with override_settings(**STATED):
        _, printed, _ = manage_here("processing_register")
    assert "Accounts are erased by a rule: softly deleted users: 30 days after the deletion\n" in printed
    settings.RETENTION_RULES = {**RULES, "matches": 731}
    with override_settings(**STATED):
        _, printed, _ = manage_here("processing_register")
    assert f"The rules of RETENTION_RULES are left out: their version {current_policy().version} is not approved" in printed


def test_command__prints_the_register() -> None:
    with override_settings(**STATED):
        code, printed, _ = manage_here("processing_register")
    assert code in {0, None}
    assert "Name and contact details of the controller: FindMe GmbH, Berlin\n" in printed
    assert "Purpose: matches between users\n  Legal basis: article 6(1)(b), article 9(2)(a)\n  Data subjects: users\n" in printed
    assert "  Data: location\n    Recipients: the operator of the vector store\n    Time limit: until the account is erased\n" in printed
    assert "    In profile_embeddings: location\n    In vector store: location\n" in printed
    assert f"  auth.Group: {IMPERSONAL_MODELS['auth.Group']}\n" in printed


def test_command__without_the_statements_of_the_operator__exits_with_findings() -> None:
    with override_settings(**STATED | {"PRIVACY_OFFICER": ""}):
        code, printed, _ = manage_here("processing_register")
    assert code == 1
    assert "Contact details of the data protection officer: missing. Set PRIVACY_OFFICER.\n" in printed


def test_command__json() -> None:
    with override_settings(**STATED):
        _, printed, _ = manage_here("processing_register", "--json")
        assert json.loads(printed) == json.loads(json.dumps(asdict(processing_register())))


@pytest.mark.parametrize("legal_bases", [(), ("6(1)(g)",), ("6(1)(b)", "article 9")])
def test_purpose__needs_legal_bases_of_the_regulation(legal_bases: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="needs legal bases of articles 6 or 9"):
        Purpose("a purpose", legal_bases)
