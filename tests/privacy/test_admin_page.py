"""The page of a privacy action: permissions, preview, and that only a POST with the right token runs the action."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import User
from findme.core.errors import UserFacingError
from privacy.actions.group_size import NO_ERASURE, describe_group
from privacy.admin import selection
from privacy.admin.actions import ACTIONS, ANONYMIZE, ERASE, EXPORT, SOFT_DELETE, PrivacyAction
from privacy.admin.permissions import NOT_OWN_ACCOUNT, SUPERUSERS_ONLY
from privacy.admin.view import page_url
from privacy.declarations import Disposition
from privacy.registry import Effect
from tests.factories import UserFactory
from tests.privacy.audit import audited
from tests.privacy.life import full_life
from tests.privacy.shelf import Shelf
from tests.support.staff import said, signed_in, staff, superuser

pytestmark = pytest.mark.django_db

LIST = reverse("admin:accounts_user_changelist")
REMOVING = pytest.mark.parametrize("action", [ANONYMIZE, SOFT_DELETE, ERASE], ids=lambda action: action.slug)


def officer(action: PrivacyAction, **fields: Any) -> User:
    return staff("accounts.view_user", f"accounts.{action.permission}", **fields)


def confirmation_for(person: User) -> dict[str, str]:
    return {"confirmation": person.email}


def is_unchanged(person: User) -> bool:
    return bool(User.objects.filter(pk=person.pk, email=person.email, deleted_at=None))


@REMOVING
def test_permission__each_action_has_its_own(action: PrivacyAction, shelf: Shelf) -> None:
    person = UserFactory.create()
    all_others = [f"accounts.{other.permission}" for other in ACTIONS.values() if other is not action]
    client = signed_in(staff("accounts.view_user", "accounts.change_user", "accounts.delete_user", *all_others))
    assert client.get(page_url(action, [person.pk])).status_code == 403
    assert client.post(page_url(action, [person.pk]), confirmation_for(person)).status_code == 403
    assert is_unchanged(person) and audited() == []


@REMOVING
def test_permission__is_sufficient(action: PrivacyAction, shelf: Shelf) -> None:
    person = UserFactory.create()
    client = signed_in(officer(action))
    assert client.get(page_url(action, [person.pk])).status_code == 200
    assert is_unchanged(person) and audited() == []
    assert client.post(page_url(action, [person.pk]), confirmation_for(person)).status_code == 302
    assert not is_unchanged(person)


@REMOVING
def test_permission__without_view_permission(action: PrivacyAction, shelf: Shelf) -> None:
    person = UserFactory.create()
    assert (
        signed_in(staff(f"accounts.{action.permission}")).post(page_url(action, [person.pk]), confirmation_for(person)).status_code == 403
    )


def test_permission__without_a_log_in(client: Client, shelf: Shelf) -> None:
    assert client.get(page_url(ERASE, [uuid4()])).headers["Location"].startswith(reverse("admin:login"))


def test_list__offers_permitted_actions(shelf: Shelf) -> None:
    UserFactory.create()
    response = signed_in(officer(EXPORT)).get(LIST)
    assert [name for name, _ in response.context["action_form"].fields["action"].choices] == ["", "export_selected"]


def test_list__action_without_permission__is_refused(shelf: Shelf) -> None:
    person = UserFactory.create()
    response = signed_in(officer(EXPORT)).post(LIST, {"action": "erase_selected", "_selected_action": [str(person.pk)]})
    assert response.status_code in {200, 302} and "/privacy/" not in response.headers.get("Location", "")


def test_user_page__offers_permitted_actions(shelf: Shelf) -> None:
    person = UserFactory.create()
    response = signed_in(officer(SOFT_DELETE)).get(reverse("admin:accounts_user_change", args=[person.pk]))
    assert [link["url"] for link in response.context["privacy_links"]] == [page_url(SOFT_DELETE, [person.pk])]


def test_user_page__offers_no_action_that_would_be_refused(shelf: Shelf) -> None:
    person = superuser()
    response = signed_in(person).get(reverse("admin:accounts_user_change", args=[person.pk]))
    assert [link["title"] for link in response.context["privacy_links"]] == ["Export personal data"]


@REMOVING
def test_execution__needs_the_csrf_token(action: PrivacyAction, shelf: Shelf) -> None:
    person = UserFactory.create()
    client = Client(enforce_csrf_checks=True)
    client.force_login(superuser())
    assert client.post(page_url(action, [person.pk]), confirmation_for(person)).status_code == 403
    assert is_unchanged(person)
    page = client.get(page_url(action, [person.pk]))
    token = str(page.context["csrf_token"])
    assert client.post(page_url(action, [person.pk]), confirmation_for(person) | {"csrfmiddlewaretoken": token}).status_code == 302
    assert not is_unchanged(person)


@REMOVING
@pytest.mark.parametrize("method", ["get", "head", "put", "delete"])
def test_execution__needs_a_post(action: PrivacyAction, method: str, shelf: Shelf) -> None:
    person = UserFactory.create()
    getattr(signed_in(superuser()), method)(page_url(action, [person.pk]), confirmation_for(person))
    assert is_unchanged(person)


@REMOVING
@pytest.mark.parametrize("trait", ["staff", "superuser"])
def test_protection__staff_cannot_act_on_staff(action: PrivacyAction, trait: str, shelf: Shelf) -> None:
    colleague = UserFactory.create(**{trait: True})
    client = signed_in(officer(action))
    page = client.get(page_url(action, [colleague.pk]))
    assert SUPERUSERS_ONLY in page.content.decode() and not page.context["can_be_done"]
    response = client.post(page_url(action, [colleague.pk]), confirmation_for(colleague))
    assert said(response) == [f"{action.noun} failed: {SUPERUSERS_ONLY}"]
    assert is_unchanged(colleague)


@REMOVING
def test_protection__superuser_cannot_remove_themself(action: PrivacyAction, shelf: Shelf) -> None:
    person = superuser()
    response = signed_in(person).post(page_url(action, [person.pk]), confirmation_for(person))
    assert said(response) == [f"{action.noun} failed: {NOT_OWN_ACCOUNT}"]
    assert is_unchanged(person)


@REMOVING
def test_protection__superuser_may_remove_another(action: PrivacyAction, shelf: Shelf) -> None:
    colleague = superuser()
    signed_in(superuser()).post(page_url(action, [colleague.pk]), confirmation_for(colleague))
    assert not is_unchanged(colleague)


def test_preview__shows_user_and_effects(shelf: Shelf) -> None:
    person = full_life()
    shelf.ids.add(person.pk)
    page = signed_in(superuser()).get(page_url(ERASE, [person.pk]))
    (preview,) = page.context["previews"]
    assert (preview.user.user_id, preview.user.email) == (person.pk, person.email)
    lines = {what: (count, disposition) for what, count, disposition in preview.lines}
    assert lines["videos"] == (2, "deleted") and lines["matches"] == (2, "deleted") and lines["points in the shelf"] == (1, "deleted")
    text = page.content.decode()
    assert all(shown in text for shown in (person.email, str(person.pk), "points in the shelf"))
    assert page.context["expected_words"] == [person.email, str(person.pk)]
    assert "no-store" in page.headers["Cache-Control"]


def test_preview__store_unavailable__has_no_button(shelf: Shelf) -> None:
    person = UserFactory.create()
    shelf.reachable = False
    client = signed_in(superuser())
    for action in (ANONYMIZE, ERASE):
        page = client.get(page_url(action, [person.pk]))
        assert page.status_code == 200 and not page.context["can_be_done"]
        assert (
            "The action is not possible now: nothing was changed.</strong> The shelf is too high. Fetch a ladder." in page.content.decode()
        )


def test_preview__soft_deletion_needs_no_store(shelf: Shelf) -> None:
    person = UserFactory.create()
    shelf.reachable = False
    page = signed_in(superuser()).get(page_url(SOFT_DELETE, [person.pk]))
    assert page.context["can_be_done"] and "The shelf is too high. Fetch a ladder." in page.content.decode()
    assert ("points in the shelf", None, "deleted") in page.context["previews"][0].lines


def test_preview__one_user_fails__shows_the_others(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """The preview fails for example for a user who was erased in between. The others are shown all the same."""
    failing_user, shown_user = UserFactory.create_batch(2)

    def preview(user_id: UUID) -> list[Effect]:
        if user_id == failing_user.pk:
            raise UserFacingError("This user is unknown.")
        return [Effect("videos", 0, Disposition.DELETED), Effect("calls", 2, Disposition.DELETED)]

    monkeypatch.setitem(ACTIONS, ERASE.slug, replace(ERASE, preview=preview))
    page = signed_in(superuser()).get(page_url(ERASE, [failing_user.pk, shown_user.pk]))
    first, second = page.context["previews"]
    assert (first.user.denial_reason, first.lines, second.lines) == ("This user is unknown.", (), (("calls", 2, "deleted"),))


def test_preview__a_user_unknown_to_postgresql(shelf: Shelf) -> None:
    user_id = uuid4()
    page = signed_in(superuser()).get(page_url(ERASE, [user_id]))
    assert not page.context["can_be_done"] and f"manage.py erase_user {user_id} --hard" in page.content.decode()


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("", "No user is selected. Select users in the list."),
        ("?user=john", "The URL of this page has a user that is not a UUID. Select users in the list."),
        ("?user=%00", "The URL of this page has a user that is not a UUID. Select users in the list."),
    ],
)
def test_url__without_a_valid_user(query: str, sentence: str, shelf: Shelf) -> None:
    response = signed_in(superuser()).get(reverse("admin:accounts_user_privacy", args=["erase"]) + query)
    assert (response.headers["Location"], said(response)) == (LIST, [sentence])


def test_url__unknown_action(shelf: Shelf) -> None:
    assert signed_in(superuser()).get(reverse("admin:accounts_user_privacy", args=["forgive"])).status_code == 404


@pytest.mark.parametrize("name", ["anonymize", "soft_delete", "erase"])
def test_list__redirects_to_the_page(name: str, shelf: Shelf) -> None:
    users = UserFactory.create_batch(2)
    client = signed_in(superuser())
    response = client.post(LIST, {"action": f"{name}_selected", "_selected_action": [str(person.pk) for person in users]}, follow=True)
    assert response.context["action"].slug.replace("-", "_") == name
    assert {preview.user.user_id for preview in response.context["previews"]} == {person.pk for person in users}
    assert all(is_unchanged(person) for person in users)


def test_list__too_many_users(monkeypatch: pytest.MonkeyPatch, shelf: Shelf) -> None:
    monkeypatch.setattr("privacy.admin.mixin.MAX_USERS", 2)
    users = UserFactory.create_batch(3)
    response = signed_in(superuser()).post(LIST, {"action": "anonymize_selected", "_selected_action": [str(person.pk) for person in users]})
    assert said(response) == ["Anonymize: at most 2 users at a time. Select fewer."]


def test_list__too_many_users_across_all_pages(monkeypatch: pytest.MonkeyPatch, shelf: Shelf) -> None:
    monkeypatch.setattr("privacy.admin.mixin.MAX_USERS", 2)
    users = UserFactory.create_batch(3)
    posted = {"action": "erase_selected", "_selected_action": [str(users[0].pk)], "select_across": "1"}
    assert said(signed_in(superuser()).post(LIST, posted)) == ["Delete for good: at most 2 users at a time. Select fewer."]


def test_url__too_many_users(monkeypatch: pytest.MonkeyPatch, shelf: Shelf) -> None:
    monkeypatch.setattr(selection, "MAX_USERS", 2)
    users = UserFactory.create_batch(3)
    response = signed_in(superuser()).post(page_url(ANONYMIZE, [person.pk for person in users]))
    assert said(response) == ["3 users are selected: at most 2 at a time. Select fewer."]
    assert all(is_unchanged(person) for person in users)


def test_anonymization__page_and_message_show_k(shelf: Shelf) -> None:
    """The page says before the approval that this is no erasure, and how many users have the same year of birth and gender."""
    person = UserFactory.create(date_of_birth=date(1990, 7, 21), gender="other")
    client = signed_in(superuser())
    page = client.get(page_url(ANONYMIZE, [person.pk])).content.decode()
    assert NO_ERASURE in page and describe_group(1) in page and "Warning" in page
    response = client.post(page_url(ANONYMIZE, [person.pk]))
    assert said(response) == [f"Anonymized: {person.pk}.", f"{person.pk}: {describe_group(1)}"]


def test_erasure__page_shows_no_k(shelf: Shelf) -> None:
    person = UserFactory.create()
    page = signed_in(superuser()).get(page_url(ERASE, [person.pk])).content.decode()
    assert "k = " not in page and NO_ERASURE not in page
