"""A change in the admin updates the user's point."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse

from accounts.models import User
from tests.factories import ProfileEmbeddingFactory, UserFactory
from tests.support.staff import person_form, said, save, signed_in, superuser
from vectorstore.schema.initialize import initialize
from vectorstore.sync.inline import point_of, sync_users

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def synced_user(store: str) -> User:
    """Return a user with a point, once in each kind of store."""
    initialize()
    user = ProfileEmbeddingFactory.create(user__gender="female").user
    sync_users([user.pk])
    return user


def change(user: User, **changes: Any) -> list[str]:
    """Change ``user`` in the admin and return its messages."""
    response = save(signed_in(superuser()), reverse("admin:accounts_user_change", args=[user.pk]), person_form(user, **changes))
    assert response.status_code == 302
    return said(response)


def test_change__in_the_admin__updates_the_payload(synced_user: User) -> None:
    assert len(change(synced_user, gender="male", verified="")) == 1
    point = point_of(synced_user.pk)
    assert point is not None and (point["payload"]["gender"], point["payload"]["verified"]) == ("male", False)


def test_change__to_staff__removes_the_point(synced_user: User) -> None:
    change(synced_user, is_staff="on")
    assert point_of(synced_user.pk) is None


def test_change__nothing_changed__syncs_nothing(synced_user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vectorstore.sync.inline.sync_users", lambda _user_ids: pytest.fail("nothing changed"))
    change(synced_user)


def test_change__qdrant_unavailable__is_saved_with_a_warning(settings: Any) -> None:
    settings.QDRANT_URL, settings.QDRANT_TIMEOUT = "http://127.0.0.1:9", 2.0
    user = UserFactory.create()
    _saved, warning = change(user, full_name="After")
    assert warning.startswith("Saved, but the search index is not up to date. Nothing answers at QDRANT_URL ")
    assert warning.endswith(" To update it, run: manage.py sync_qdrant --once")
    user.refresh_from_db()
    assert user.full_name == "After"


def test_change__unexpected_error_in_the_sync__is_saved_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_user_ids: Any) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("vectorstore.sync.inline.sync_users", fail)
    _saved, warning = change(UserFactory.create(), full_name="After")
    assert warning == (
        "Saved, but the search index is not up to date. The server's log has the error. To update it, run: manage.py sync_qdrant --once"
    )
    assert "a defect" in caplog.text
