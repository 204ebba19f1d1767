import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.checks import Error, run_checks
from django.db import connection, models
from django.test.utils import isolate_apps

from findme.core.triggers.definitions import expected_triggers
from privacy.checks import errors_of_ownership, errors_of_protection, field_names, models_with_personal_data
from privacy.registry import Effect, PersonalDataOwner, Protection, registry
from tests.privacy.shelf import Shelf


class Owner(PersonalDataOwner):
    def __init__(self, section: str, fields: Mapping[str, set[str]]) -> None:
        self.section = section
        self.fields = {label: frozenset(names) for label, names in fields.items()}

    def export(self, user_id: UUID) -> dict[str, Any]:
        return {}

    def anonymize(self, user_id: UUID) -> None: ...

    def after_anonymization(self, user_id: UUID) -> list[Effect]:
        return []

    def after_erasure(self, user_id: UUID) -> list[Effect]:
        return []


@pytest.fixture
def diary() -> Iterator[type[models.Model]]:
    with isolate_apps("privacy"):

        class Diary(models.Model):  # noqa: DJ008  # never shown
            text = models.TextField()
            readers = models.ManyToManyField("self")

            class Meta:
                app_label = "privacy"

        yield Diary


def errors(*owners: PersonalDataOwner, of: type[models.Model] | None = None) -> list[Error]:
    return list(errors_of_ownership([of] if of else [], owners))


def test_checks__every_column_of_this_project_has_an_owner() -> None:
    assert run_checks(tags=["privacy"]) == []


def test_checks__a_field_without_an_owner(diary: type[models.Model]) -> None:
    (error,) = errors(Owner("diaries", {}), of=diary)
    assert error == Error(
        "privacy.Diary has fields without an owner of personal data: id, text, readers.",
        hint="Name them in the fields of an owner in privacy/personal_data.py, which exports, anonymizes and erases them.",
        obj=diary,
        id="privacy.E001",
    )


def test_checks__a_field_with_two_owners() -> None:
    (error,) = errors(Owner("videos", {"videos.Video": {"status"}}), Owner("calls", {"videos.Video": {"status"}}))
    assert error == Error(
        "videos.Video.status has more than one owner of personal data: videos, calls.",
        hint="Keep it in the fields of one owner.",
        id="privacy.E002",
    )


def test_checks__two_owners_for_two_fields_of_a_model() -> None:
    assert errors(Owner("videos", {"videos.Video": {"status"}}), Owner("calls", {"videos.Video": {"duration"}})) == []


def test_checks__an_owner_of_an_unknown_field() -> None:
    (error,) = errors(Owner("videos", {"videos.Video": {"status", "state"}}))
    assert error == Error(
        "The owner of the section 'videos' names the field 'videos.Video.state', which does not exist.",
        hint="Take it out of the fields of tests.privacy.test_checks.Owner, or correct its name.",
        id="privacy.E003",
    )


@pytest.mark.parametrize("label", ["videos.Film", "films.Film", "film"])
def test_checks__an_owner_of_an_unknown_model(label: str) -> None:
    (error,) = errors(Owner("videos", {label: {"status"}}))
    assert error == Error(
        f"The owner of the section 'videos' names the model {label!r}, which does not exist.",
        hint="Take it out of the fields of tests.privacy.test_checks.Owner, or correct its name.",
        id="privacy.E003",
    )


def test_checks__a_reverse_relation_is_not_a_field() -> None:
    (error,) = errors(Owner("profile", {"accounts.User": {"videos"}}))
    assert error.id == "privacy.E003"


def test_models_with_personal_data__of_this_project_and_with_a_key_to_users() -> None:
    labels = {model._meta.label for model in models_with_personal_data([])}
    assert labels >= {"accounts.User", "videos.Video", "matching.Match", "calls.VideoCall", "vectorstore.ProfileEmbedding"}
    assert "admin.LogEntry" in labels
    assert not labels & {"auth.Permission", "contenttypes.ContentType", "sessions.Session"}


def test_models_with_personal_data__named_by_an_owner() -> None:
    """Sessions have no key to a user. If an owner names one of their fields, all fields are checked."""
    owner = Owner("profile", {"sessions.Session": {"session_key"}})
    (error,) = [error for error in errors_of_ownership(models_with_personal_data([owner]), [owner]) if "sessions" in error.msg]
    assert error.msg == "sessions.Session has fields without an owner of personal data: session_data, expire_date."


def test_field_names__columns_and_many_to_many() -> None:
    assert {"password", "video", "groups", "user_permissions"} <= set(field_names(get_user_model()))


def test_registry__a_section_has_one_owner() -> None:
    taken = next(registry.owners)
    with pytest.raises(ValueError, match=f"^section {taken.section!r} has an owner: {type(taken).__qualname__}$"):
        registry.register(Owner(taken.section, {}))


def test_registry__store_names_are_unique(shelf: Shelf) -> None:
    with pytest.raises(ValueError, match=r"^store 'shelf' is registered: Shelf$"):
        registry.register_store(Shelf())


# --- Protected columns ------------------------------------------------------------------------------------------------------------


def protected(label: str, protection: Protection) -> Owner:
    owner = Owner("protected", {})
    owner.protection = {label: protection}
    return owner


def test_protection__a_new_column_is_missing() -> None:
    (video,) = (model for model in models_with_personal_data(registry.owners) if model._meta.label == "videos.Video")
    (declared,) = (owner.protection["videos.Video"] for owner in registry.owners if "videos.Video" in owner.protection)
    assert list(errors_of_protection([video], [protected("videos.Video", declared)])) == []
    without = replace(declared, kept=declared.kept - {"status"})
    (error,) = errors_of_protection([video], [protected("videos.Video", without)])
    assert (error.id, error.msg) == ("privacy.E004", "The Protection of videos.Video does not cover the fields status.")
    (error,) = errors_of_protection([video], [])
    assert (error.id, error.obj) == ("privacy.E004", video)


def test_protection__not_enforced_by_a_trigger() -> None:
    (video,) = (model for model in models_with_personal_data(registry.owners) if model._meta.label == "videos.Video")
    (declared,) = (owner.protection["videos.Video"] for owner in registry.owners if "videos.Video" in owner.protection)
    more = replace(declared, protected={**declared.protected, "status": "=rejected"}, kept=declared.kept - {"status"})
    first, second = errors_of_protection([video], [protected("videos.Video", more)])
    assert first.id == second.id == "privacy.E005"
    assert first.hint is not None
    assert "'user_id', 'storage_url', 'thumbnail_url', 'rejection_reason', 'metadata', 'deleted_at!', 'status=rejected'" in first.hint


def test_protection__of_a_table_without_protected_columns_needs_a_trigger_for_every_change(monkeypatch: pytest.MonkeyPatch) -> None:
    (embedding,) = (model for model in models_with_personal_data(registry.owners) if model._meta.label == "vectorstore.ProfileEmbedding")
    schema = expected_triggers()
    assert list(errors_of_protection([embedding], registry.owners)) == []
    without = replace(schema, triggers=tuple(trigger for trigger in schema.triggers if trigger.name != "erased_users_changed"))
    monkeypatch.setattr("privacy.checks.expected_triggers", lambda: without)
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
