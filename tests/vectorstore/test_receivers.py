"""The point follows what the admin changes."""

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
def projected(store: str) -> User:
    """Somebody with a point, in each store in turn."""
    initialize()
    person = ProfileEmbeddingFactory.create(user__gender="female").user
    sync_users([person.pk])
    return person


def change(person: User, **changes: Any) -> list[str]:
    """Change PERSON in the admin, and give what it said."""
    response = save(signed_in(superuser()), reverse("admin:accounts_user_change", args=[person.pk]), person_form(person, **changes))
    assert response.status_code == 302
    return said(response)


def test_change__payload_follows(projected: User) -> None:
    assert len(change(projected, gender="male", verified="")) == 1
    point = point_of(projected.pk)
    assert point is not None and (point["payload"]["gender"], point["payload"]["verified"]) == ("male", False)


def test_change__staff_have_no_point(projected: User) -> None:
    change(projected, is_staff="on")
    assert point_of(projected.pk) is None


def test_change__nothing_changed_asks_for_nothing(projected: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vectorstore.sync.inline.sync_users", lambda _user_ids: pytest.fail("nothing changed"))
    change(projected)


def test_change__stands_while_qdrant_is_unavailable(settings: Any) -> None:
    settings.QDRANT_URL, settings.QDRANT_TIMEOUT = "http://127.0.0.1:9", 2.0
    person = UserFactory.create()
    _saved, warning = change(person, full_name="After")
    assert warning.startswith("Saved, but the search index is not up to date. Nothing answers at QDRANT_URL ")
    assert warning.endswith(" To update it, run: manage.py sync_qdrant --once")
    person.refresh_from_db()
    assert person.full_name == "After"


def test_change__stands_whatever_goes_wrong_afterwards(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_user_ids: Any) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("vectorstore.sync.inline.sync_users", fail)
    _saved, warning = change(UserFactory.create(), full_name="After")
    assert warning == (
        "Saved, but the search index is not up to date. The server's log has the error. To update it, run: manage.py sync_qdrant --once"
    )
    assert "a defect" in caplog.text
