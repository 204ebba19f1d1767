"""Holds in the admin: the list, the page that sets one, the action that releases them, and who may do that."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.urls import reverse

from accounts.models import User
from privacy.actions.holds import active_holds, hold, release
from privacy.models import Hold
from privacy.models.holds import Article, Section
from tests.factories import UserFactory
from tests.privacy.audit import audited
from tests.privacy.life import full_life
from tests.privacy.shelf import Shelf
from tests.support.staff import change_page, errors_of, said, save, signed_in, staff, superuser

pytestmark = pytest.mark.django_db

VIEW, HANDLE = "privacy.view_hold", "privacy.handle_holds"
LIST, ADD = (reverse(f"admin:privacy_hold_{page}") for page in ("changelist", "add"))


def posted(person: User, **values: Any) -> dict[str, Any]:
    return {"user_id": str(person.pk), "section": "matches", "article": "17_3_e", "until": "", **values}


def test_page__sets_a_hold() -> None:
    officer, person = staff(VIEW, HANDLE), full_life()
    save(signed_in(officer), ADD, posted(person))
    (held,) = active_holds(person.pk)
    assert (held.section, held.article, held.until, held.set_by_id, held.set_by_account) == ("matches", "17_3_e", None, officer.pk, "")
    assert audited() == [("hold", officer.pk, person.pk, "done")]


@pytest.mark.parametrize(
    ("values", "errors"),
    [
        ({"user_id": str(uuid4())}, {"user_id": ["No user has this UUID."]}),
        ({"until": (datetime.now(UTC) - timedelta(days=2)).date().isoformat()}, {"until": ["This day is in the past."]}),
    ],
)
def test_page__wrong_values(values: dict[str, str], errors: dict[str, list[str]]) -> None:
    response = save(signed_in(superuser()), ADD, posted(UserFactory.create(), **values))
    assert errors_of(response) == errors and not Hold.objects.exists() and audited() == []


def test_list__releases_holds(shelf: Shelf) -> None:
    officer, person = staff(VIEW, HANDLE), full_life()
    first, second = (hold(person.pk, section, Article.LEGAL_CLAIMS) for section in (Section.MATCHES, Section.CALLS))
    release(second.pk)
    response = signed_in(officer).post(LIST, {"action": "release_selected", "_selected_action": [first.pk, second.pk]})
    assert said(response) == [
        f"The hold {second.pk} has ended: nothing was changed.",
        f"Released: {first.pk}. manage.py process_requests completes what they have delayed.",
    ]
    assert active_holds(person.pk) == [] and Hold.objects.get(pk=first.pk).released_by_id == officer.pk


@pytest.mark.parametrize("permissions", [(), (VIEW,)])
def test_without_permission(permissions: tuple[str, ...]) -> None:
    person = UserFactory.create()
    held = hold(person.pk, Section.CALLS, Article.LEGAL_CLAIMS)
    client = signed_in(staff(*permissions))
    assert client.get(LIST).status_code == (200 if permissions else 403)
    assert client.get(ADD).status_code == 403 and client.post(ADD, posted(person)).status_code == 403
    client.post(LIST, {"action": "release_selected", "_selected_action": [held.pk]})
    assert [one.pk for one in active_holds(person.pk)] == [held.pk]


def test_page_of_a_hold__cannot_be_changed() -> None:
    held = hold(UserFactory.create().pk, Section.CALLS, Article.LEGAL_CLAIMS)
    client = signed_in(superuser())
    page = client.get(change_page(held)).content.decode()
    assert str(held.user_id) in page and "Active" in page
    assert client.post(change_page(held), posted(UserFactory.create())).status_code == 403
    assert client.post(reverse("admin:privacy_hold_delete", args=[held.pk])).status_code == 403


def test_erasure__message_names_users_with_held_data(shelf: Shelf) -> None:
    person, officer = full_life(), superuser()
    held = hold(person.pk, Section.MATCHES, Article.LEGAL_CLAIMS)
    address = f"{reverse('admin:accounts_user_privacy', args=['erase'])}?user={person.pk}"
    client = signed_in(officer)
    assert f"matches (hold {held.pk}, article 17 (3) (e), until it is released)" in client.get(address).content.decode()
    assert said(client.post(address, {"confirmation": str(person.pk)})) == [
        f"Deleted for good except for held data: {person.pk}. When the holds end, manage.py process_requests completes it."
    ]
