"""Restriction and objection in the admin: permissions, the day of the information, links, and that a restricted user cannot be changed."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.urls import reverse

from accounts.models import User
from privacy.admin.actions import DELETE_EMBEDDING, LIFT_RESTRICTION, RESTRICT, RESUME_MATCHING, STOP_MATCHING, PrivacyAction
from privacy.admin.view import page_url
from privacy.local_dates import today
from privacy.models import AuditEntry
from privacy.models.request_choices import State
from tests.factories import ProfileEmbeddingFactory, UserFactory, now
from tests.privacy.requests.rows import request_in
from tests.privacy.shelf import Shelf, install_shelf
from tests.support.staff import change_page, person_form, said, save, signed_in, staff, superuser
from vectorstore.models import ProfileEmbedding

pytestmark = pytest.mark.django_db

HIDING = [RESTRICT, LIFT_RESTRICTION, STOP_MATCHING, DELETE_EMBEDDING, RESUME_MATCHING]
EACH = pytest.mark.parametrize("action", HIDING, ids=lambda action: action.slug)


def officer(action: PrivacyAction) -> User:
    return staff("accounts.view_user", f"accounts.{action.permission}")


def state(person: User) -> tuple[bool, bool]:
    found = User.objects.get(pk=person.pk)
    return found.restricted_at is not None, found.objected_at is not None


@EACH
def test_permission__is_needed_and_sufficient(action: PrivacyAction, shelf: Shelf) -> None:
    person = UserFactory.create()
    page = page_url(action, [person.pk])
    other = STOP_MATCHING if action.permission == RESTRICT.permission else RESTRICT
    assert signed_in(officer(other)).get(page).status_code == 403
    assert signed_in(officer(other)).post(page, {"informed_on": today().isoformat()}).status_code == 403
    client = signed_in(officer(action))
    assert client.get(page).status_code == 200
    assert not AuditEntry.objects.exists()
    assert client.post(page, {"informed_on": today().isoformat()}).status_code == 302
    assert AuditEntry.objects.count() == 1


def test_pages__restrict_and_lift__stop_and_resume(shelf: Shelf) -> None:
    person = UserFactory.create()
    client, day = signed_in(superuser()), {"informed_on": today().isoformat()}
    for action, expected, message in (
        (RESTRICT, (True, False), "Restricted"),
        (STOP_MATCHING, (True, True), "Not matched any more"),
        (LIFT_RESTRICTION, (False, True), "Not restricted any more"),
        (RESUME_MATCHING, (False, False), "Matched again"),
    ):
        assert said(client.post(page_url(action, [person.pk]), day))[-1] == f"{message}: {person.pk}."
        assert state(person) == expected


def test_page__deletes_the_embedding(monkeypatch: pytest.MonkeyPatch) -> None:
    install_shelf(monkeypatch)
    person = ProfileEmbeddingFactory.create().user
    page = page_url(DELETE_EMBEDDING, [person.pk])
    client = signed_in(superuser())
    (preview,) = client.get(page).context["previews"]
    assert ("embeddings", 1, "deleted") in preview.lines
    client.post(page)
    assert not ProfileEmbedding.objects.exists() and state(person) == (False, True)


@pytest.mark.parametrize("day", ["", "soon", (today() + timedelta(days=1)).isoformat()])
def test_lift__without_a_day_on_which_the_user_was_informed__is_refused(day: str, shelf: Shelf) -> None:
    person = UserFactory.create(restricted_at=now())
    response = signed_in(superuser()).post(page_url(LIFT_RESTRICTION, [person.pk]), {"informed_on": day})
    if response.status_code == 200:
        assert "The day on which the user was informed is missing, or is no date: nothing was changed." in response.content.decode()
    else:
        assert "article 18 (3)" in said(response)[0]
    assert state(person) == (True, False)


def test_links__only_those_that_apply(shelf: Shelf) -> None:
    client = signed_in(superuser())

    def titles(**columns: object) -> set[str]:
        page = client.get(change_page(UserFactory.create(**columns)))
        return {link["title"] for link in page.context["privacy_links"]} & {action.title for action in HIDING}

    always = {DELETE_EMBEDDING.title}
    assert titles() == always | {RESTRICT.title, STOP_MATCHING.title}
    assert titles(restricted_at=now()) == always | {LIFT_RESTRICTION.title, STOP_MATCHING.title}
    assert titles(objected_at=now()) == always | {RESTRICT.title, RESUME_MATCHING.title}


def test_change__of_a_restricted_user__only_for_an_approved_rectification() -> None:
    person = UserFactory.create(restricted_at=now())
    client = signed_in(superuser())
    password = reverse("admin:auth_user_password_change", args=[person.pk])
    for refused in (
        client.post(change_page(person), person_form(person, full_name="New")),
        client.post(password, {"password1": "a new pass phrase", "password2": "a new pass phrase"}),
    ):
        assert refused.status_code == 403
    assert client.get(change_page(person)).status_code == 200
    request_in(State.IDENTIFIED, kind="rectification", user_id=person.pk)
    request_in(State.APPROVED, kind="access", user_id=person.pk)
    request_in(State.APPROVED, kind="rectification")
    request_in(State.ANSWERED, kind="rectification", user_id=person.pk)
    assert client.post(change_page(person), person_form(person, full_name="New")).status_code == 403
    request_in(State.APPROVED, kind="rectification", user_id=person.pk)
    assert save(client, change_page(person), person_form(person, full_name="New")).status_code == 302
    assert User.objects.get(pk=person.pk).full_name == "New"
    assert AuditEntry.objects.get(action="restricted_change").target_id == person.pk
    assert state(person) == (True, False)


def test_change__of_an_objecting_user__is_allowed() -> None:
    person = UserFactory.create(objected_at=now())
    assert save(signed_in(superuser()), change_page(person), person_form(person, full_name="New")).status_code == 302
    assert (User.objects.get(pk=person.pk).full_name, state(person)) == ("New", (False, True))
