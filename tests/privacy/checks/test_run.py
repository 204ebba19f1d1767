"""All checks together: what a developer sees who adds an app, a model, a column or a field of the payload."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.checks import CheckMessage, run_checks
from django.db import models
from django.test import override_settings

from findme.impersonal_models import IMPERSONAL_MODELS
from tests.support.installed_apps import installed_app
from vectorstore.projection import payload
from videos.models import Video


def found() -> list[tuple[str | None, str]]:
    return [(message.id, message.msg) for message in messages()]


def messages() -> list[CheckMessage]:
    return run_checks(tags=["privacy"])


def test_project__has_no_error() -> None:
    assert messages() == []


def test_new_app__every_model_is_named_for_export_and_erasure() -> None:
    with installed_app("tests.privacy.checks.diaries"):
        (message,) = messages()
        assert (message.id, message.msg) == ("privacy.E001", "diaries.Diary has fields without an owner of personal data: id, arguments.")
        assert message.hint is not None
        assert "which exports, anonymizes and erases them" in message.hint
        with override_settings(IMPERSONAL_MODELS=IMPERSONAL_MODELS | {"diaries.Diary": "pages without writing"}):
            assert messages() == []
    with override_settings(IMPERSONAL_MODELS=IMPERSONAL_MODELS | {"diaries.Diary": "pages without writing"}):
        assert [message.id for message in messages()] == ["privacy.E006"]


@pytest.fixture
def nickname() -> Iterator[None]:
    """Add a column to the model of the videos."""
    field: Any = models.TextField(null=True)
    field.contribute_to_class(Video, "nickname")
    yield
    meta: Any = Video._meta
    meta.local_fields.remove(field)
    meta._expire_cache()
    delattr(Video, "nickname")


@pytest.mark.usefixtures("nickname")
def test_new_column__needs_an_owner_and_a_rule_for_erased_users() -> None:
    assert found() == [
        ("privacy.E001", "videos.Video has fields without an owner of personal data: nickname."),
        ("privacy.E004", "The Protection of videos.Video does not cover the fields nickname."),
    ]


def test_new_field_of_the_payload__needs_a_declaration(monkeypatch: pytest.MonkeyPatch) -> None:
    payload_from = payload.payload_from
    monkeypatch.setattr(payload, "payload_from", lambda *given: payload_from(*given) | {"shoe_size": 42})
    assert found() == [("privacy.E009", "The vector store has fields without a declaration: shoe_size.")]


def test_removed_entry_of_the_list__the_model_needs_an_owner() -> None:
    with override_settings(IMPERSONAL_MODELS={label: reason for label, reason in IMPERSONAL_MODELS.items() if label != "auth.Group"}):
        assert found() == [("privacy.E001", "auth.Group has fields without an owner of personal data: id, name, permissions.")]
