"""The catalogs of the migrated schema equal those of the migration guide's, except for the listed deviations."""

from __future__ import annotations

import re

import pytest
from django.apps import apps
from django.conf import settings

from tests.schema.catalog import catalog
from tests.schema.deviations import DEVIATIONS
from tests.schema.guide import GUIDE, TABLES
from tests.schema.rows import ask

OF_A_GUIDE_TABLE = re.compile(
    rf"\S.* ({'|'.join(TABLES)})(\..*)?|function (?!vector_sync_|\w+_users_of_match\(|\w+_audit_(?:log|entry)\(|note_privacy_action_|check_hold\(|\w+_erasures?(?:_step)?\(|\w+_held_\w+\(|\w+_holds\(|\w+_ledger(?:_entry|_checkpoint)?\(|\w+_expired_records\(|refuse_direct_deletion\(|refuse_changed_user_id\(|\w+_requests?(?:_step|_recipient)?\(|\w+_(?:erased|anonymized|deleted)_(?:users|user|rows)).*"
)


@pytest.fixture
def guide(db: None) -> dict[str, str]:
    """Run the guide's statements in a separate schema and return its catalog.

    A function replaces the extension uuid-ossp, which some builds of PostgreSQL lack.
    """
    ask("CREATE SCHEMA guide")
    ask("SET LOCAL search_path = guide, public")
    ask("CREATE FUNCTION uuid_generate_v4() RETURNS uuid LANGUAGE sql AS 'SELECT gen_random_uuid()'")
    ask(GUIDE.replace('CREATE EXTENSION IF NOT EXISTS "uuid-ossp";', ""))
    return catalog("guide")


@pytest.fixture
def ours(db: None) -> dict[str, str]:
    """Return the part of the migrated catalog that the guide covers."""
    return {name: definition for name, definition in catalog("public").items() if OF_A_GUIDE_TABLE.fullmatch(name)}


def test_guide_sql__creates_all_objects(guide: dict[str, str]) -> None:
    kinds = [name.partition(" ")[0] for name in guide]
    assert {kind: kinds.count(kind) for kind in sorted(set(kinds))} == {
        "check": 9,
        "column": 52,
        "foreign": 6,
        "function": 2,
        "index": 18,
        "primary": 4,
        "relation": 4,
        "trigger": 3,
        "unique": 3,
    }


def test_schema__differs_from_the_guide_only_as_listed(guide: dict[str, str], ours: dict[str, str]) -> None:
    found = {name: (guide.get(name), ours.get(name)) for name in guide.keys() | ours.keys() if guide.get(name) != ours.get(name)}
    assert found == DEVIATIONS


def test_deviations__each_is_in_the_documentation() -> None:
    text = (settings.BASE_DIR / "docs" / "how-to/migrate.md").read_text()
    section = text.partition("\n## Differences from the migration guide\n")[2].partition("\n## ")[0]
    explained = set(re.findall(r"`([^`]+)`", section))
    names = {re.fullmatch(r"(?:column|function) (.*)|.*\.(.*)", name) for name in DEVIATIONS}
    assert {(name[1] or name[2]).removesuffix("()") for name in names if name} - explained == set()


def test_tables__others_than_the_guides_are_models_and_djangos_own(db: None) -> None:
    relations = {name.removeprefix("relation ") for name in catalog("public") if name.startswith("relation ")}
    of_models = {model._meta.db_table for model in apps.get_models(include_auto_created=True)}
    assert relations - of_models == {
        "django_migrations",
        "schema_version",
        "schema_baseline",
        "vector_sync_version",
        "vector_last_deletion_at",
    }
    assert set(TABLES) < of_models & relations
