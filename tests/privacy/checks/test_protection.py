"""Checks of the protection of erased users."""

import re
from dataclasses import replace

import pytest
from django.apps import apps
from django.db import connection

from findme.core.triggers.definitions import expected_triggers
from privacy.checks.protection import errors_of_disposition, errors_of_protection
from privacy.declarations import Disposition, TableDeclaration
from privacy.registry import Protection, registry
from tests.privacy.checks.owner import Owner, declared
from videos.models import Video


def protection_of(label: str) -> Protection:
    (protection,) = (owner.protection[label] for owner in registry.owners if label in owner.protection)
    return protection


def protected(label: str, protection: Protection) -> Owner:
    owner = Owner("protected", {})
    owner.protection = {label: protection}
    return owner


def test_protection__a_new_column_is_missing() -> None:
    protection = protection_of("videos.Video")
    assert list(errors_of_protection([Video], [protected("videos.Video", protection)])) == []
    without = replace(protection, kept=protection.kept - {"status"})
    (error,) = errors_of_protection([Video], [protected("videos.Video", without)])
    assert (error.id, error.msg) == ("privacy.E004", "The Protection of videos.Video does not cover the fields status.")
    (error,) = errors_of_protection([Video], [])
    assert (error.id, error.obj) == ("privacy.E004", Video)


def test_protection__not_enforced_by_a_trigger() -> None:
    protection = protection_of("videos.Video")
    more = replace(protection, protected={**protection.protected, "status": "=rejected"}, kept=protection.kept - {"status"})
    first, second = errors_of_protection([Video], [protected("videos.Video", more)])
    assert first.id == second.id == "privacy.E005"
    assert first.hint is not None
    assert "'user_id', 'storage_url', 'thumbnail_url', 'rejection_reason', 'metadata', 'deleted_at!', 'status=rejected'" in first.hint


def test_protection__of_a_table_without_protected_columns_needs_a_trigger_for_every_change(monkeypatch: pytest.MonkeyPatch) -> None:
    embedding = apps.get_model("vectorstore.ProfileEmbedding")
    schema = expected_triggers()
    assert list(errors_of_protection([embedding], registry.owners)) == []
    without = replace(schema, triggers=tuple(trigger for trigger in schema.triggers if trigger.name != "erased_users_changed"))
    monkeypatch.setattr("privacy.checks.protection.expected_triggers", lambda: without)
    (error,) = errors_of_protection([embedding], registry.owners)
    assert error.id == "privacy.E005"
    assert (
        error.msg
        == "The trigger erased_users_changed on profile_embeddings does not enforce the Protection of vectorstore.ProfileEmbedding."
    )


@pytest.mark.django_db
def test_protection__the_condition_of_each_trigger_names_every_protected_column() -> None:
    """The condition decides whether the function is called."""
    protections = {label: protection for owner in registry.owners for label, protection in owner.protection.items()}
    assert len(protections) == 6
    for label, protection in protections.items():
        model = apps.get_model(label)
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgname = 'erased_users_updated' AND tgrelid = %s::regclass",
                [model._meta.db_table],
            )
            (definition,) = cursor.fetchone()
        for name in (*protection.users, *protection.protected):
            column = re.escape(model._meta.get_field(name).column)
            assert re.search(rf"\(?old\.{column}\)?(::text)? IS DISTINCT FROM \(?new\.{column}\b", definition), (label, name)


@pytest.mark.parametrize(
    ("rule", "disposition"),
    [("", Disposition.CLEARED), ("=rejected", Disposition.CLEARED), ("!", Disposition.KEPT), ("<", Disposition.KEPT)],
)
def test_disposition__agrees_with_the_rule(rule: str, disposition: Disposition) -> None:
    for declaration in (Disposition.CLEARED, Disposition.KEPT):
        owner = protected("videos.Video", Protection(users=("user",), protected={"status": rule}))
        owner.tables = {"videos.Video": TableDeclaration(links=(), data=(replace(declared("status"), anonymize=declaration),))}
        errors = list(errors_of_disposition([owner]))
        if declaration is disposition:
            assert errors == []
        else:
            (error,) = errors
            assert (error.id, error.hint) == ("privacy.E010", "Correct one of them in tests/privacy/checks/owner.py.")
            assert (
                error.msg
                == f"The declaration of videos.Video.status says that an anonymization leaves it {declaration}, and its Protection does not."
            )


def test_disposition__a_kept_field_has_no_rule() -> None:
    owner = protected("videos.Video", Protection(users=("user",), protected={}, kept=frozenset({"status"})))
    owner.tables = {"videos.Video": TableDeclaration(links=(), data=(replace(declared("status"), anonymize=Disposition.CLEARED),))}
    assert [error.id for error in errors_of_disposition([owner])] == ["privacy.E010"]
