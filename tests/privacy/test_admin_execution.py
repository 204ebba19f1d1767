"""Privacy actions in the admin: for one user, for several, with an unavailable store, and the audit log."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction
from django.urls import reverse

from accounts.models import User
from findme.core.errors import UserFacingError
from privacy.actions.anonymize import anonymize
from privacy.actions.group_size import describe_group
from privacy.admin import actions
from privacy.admin.actions import ANONYMIZE, ERASE, SOFT_DELETE, PrivacyAction
from privacy.admin.execution import AFTERWARDS
from privacy.admin.view import page_url
from privacy.models import AuditEntry
from tests.factories import UserFactory
from tests.privacy.audit import audited
from tests.privacy.life import WORDS, full_life
from tests.privacy.shelf import Shelf
from tests.support.staff import change_page, said, signed_in, superuser

pytestmark = pytest.mark.django_db

LIST = reverse("admin:accounts_user_changelist")


def alone(person: User) -> str:
    """Return the message about an anonymized user whose year of birth and gender no other user has."""
    return f"{person.pk}: {describe_group(1)}"


def test_anonymize__one(shelf: Shelf) -> None:
    person, officer = full_life(), superuser()
    shelf.ids.add(person.pk)
    response = signed_in(officer).post(page_url(ANONYMIZE, [person.pk]))
    assert (response.headers["Location"], said(response)) == (change_page(person), [f"Anonymized: {person.pk}.", alone(person)])
    person.refresh_from_db()
    assert person.email == f"deleted_{person.pk}@findme.ai" and shelf.ids == set()
    assert audited() == [("anonymize", officer.pk, person.pk, "done")]


def test_soft_delete__one(shelf: Shelf) -> None:
    person, officer = UserFactory.create(), superuser()
    shelf.ids.add(person.pk)
    response = signed_in(officer).post(page_url(SOFT_DELETE, [person.pk]))
    assert (response.headers["Location"], said(response)) == (change_page(person), [f"Deleted softly: {person.pk}."])
    person.refresh_from_db()
    assert person.deleted_at is not None and shelf.ids == set()
    assert audited() == [("soft_delete", officer.pk, person.pk, "done")]


@pytest.mark.parametrize("typed", ["{email}", "{upper}", " {id} "])
def test_erase__one(shelf: Shelf, typed: str) -> None:
    person, officer = full_life(), superuser()
    words = typed.format(email=person.email, upper=person.email.upper(), id=person.pk)
    response = signed_in(officer).post(page_url(ERASE, [person.pk]), {"confirmation": words})
    assert (response.headers["Location"], said(response)) == (LIST, [f"Deleted for good: {person.pk}."])
    assert not User.objects.filter(pk=person.pk).exists()
    assert audited() == [("erase", officer.pk, person.pk, "done")]


@pytest.mark.parametrize("typed", ["", "yes", "else@example.com"])
def test_erase__wrong_confirmation__is_refused(shelf: Shelf, typed: str) -> None:
    person = UserFactory.create()
    response = signed_in(superuser()).post(page_url(ERASE, [person.pk]), {"confirmation": typed})
    assert response.status_code == 200
    assert "Your text does not match the requested text: nothing was deleted." in response.content.decode()
    assert User.objects.filter(pk=person.pk).exists() and audited() == []


def test_erase__several(shelf: Shelf) -> None:
    users = UserFactory.create_batch(3)
    address, client = page_url(ERASE, [person.pk for person in users]), signed_in(superuser())
    client.post(address, {"confirmation": users[0].email})
    assert User.objects.filter(pk__in=[person.pk for person in users]).count() == 3
    response = client.post(address, {"confirmation": "Delete 3 users"})
    assert said(response) == [f"Deleted for good: {', '.join(str(person.pk) for person in users)}."]
    assert not User.objects.filter(pk__in=[person.pk for person in users]).exists() and len(audited()) == 3


def test_several__protected_users_are_skipped(shelf: Shelf) -> None:
    officer, person = superuser(), UserFactory.create()
    address, client = page_url(ERASE, [officer.pk, person.pk]), signed_in(officer)
    assert client.get(address).context["expected_words"] == [person.email, str(person.pk)]
    client.post(address, {"confirmation": person.email})
    assert list(User.objects.all()) == [officer]


@pytest.mark.parametrize("action", [ANONYMIZE, ERASE], ids=lambda action: action.slug)
def test_store_unavailable__changes_nothing(action: PrivacyAction, shelf: Shelf) -> None:
    person = UserFactory.create()
    shelf.reachable = False
    client = signed_in(superuser())
    response = client.post(page_url(action, [person.pk]), {"confirmation": person.email})
    assert said(response) == [f"{action.noun} failed for {person.pk}: The shelf is too high. Fetch a ladder. Nothing has changed."]
    assert response.headers["Location"] == change_page(person)
    assert User.objects.filter(pk=person.pk, email=person.email).exists() and [entry[3] for entry in audited()] == ["failed"]


def test_store_unavailable__is_tried_once(shelf: Shelf) -> None:
    users = UserFactory.create_batch(3)
    shelf.reachable = False
    response = signed_in(superuser()).post(page_url(ANONYMIZE, [person.pk for person in users]))
    names = ", ".join(str(person.pk) for person in users)
    assert said(response) == [f"The anonymization failed for {names}: The shelf is too high. Fetch a ladder. Nothing has changed."]
    assert shelf.calls == ["session"]


@pytest.mark.parametrize("action", [ANONYMIZE, ERASE], ids=lambda action: action.slug)
def test_store_fails_at_the_deletion__message_does_not_claim_that_nothing_changed(action: PrivacyAction, shelf: Shelf) -> None:
    first, second = UserFactory.create_batch(2)
    shelf.ids |= {first.pk, second.pk}
    shelf.after_removal = shelf.fail
    response = signed_in(superuser()).post(page_url(action, [first.pk, second.pk]), {"confirmation": "delete 2 users"})
    unknown = "PostgreSQL is unchanged, but the shelf may still have the user. Run this again, or leave it to manage.py process_requests."
    assert said(response) == [
        f"{action.noun} failed for {first.pk}: The shelf is too high. Fetch a ladder. {unknown}",
        f"{action.noun} failed for {second.pk}: The shelf is too high. Fetch a ladder. Nothing has changed.",
    ]
    assert shelf.ids == {second.pk} and shelf.calls.count("remove") == 1
    assert User.objects.filter(email__in=[first.email, second.email]).count() == 2
    assert [entry[2:] for entry in audited()] == [(first.pk, "unknown")]  # the second user was not tried


def test_store_unavailable__soft_deletion_is_done_and_warns(shelf: Shelf) -> None:
    person = UserFactory.create()
    shelf.ids.add(person.pk)
    shelf.reachable = False
    response = signed_in(superuser()).post(page_url(SOFT_DELETE, [person.pk]))
    assert said(response) == [
        f"Deleted softly: {person.pk}.",
        f"No search shows these users any more, but the shelf may still hold {person.pk}. The shelf is too high. Fetch a ladder. {AFTERWARDS}",
    ]
    person.refresh_from_db()
    assert person.deleted_at is not None and [entry[3] for entry in audited()] == ["done"]


def failing_for(monkeypatch: pytest.MonkeyPatch, action: PrivacyAction, person: User, error: Exception) -> PrivacyAction:
    """Replace ``action`` with one that raises ``error`` for ``person`` and works for other users."""

    def perform(user_id: UUID, **options: Any) -> Any:
        assert action.perform is not None
        if user_id == person.pk:
            raise error
        return action.perform(user_id, **options)

    failing = replace(action, perform=perform)
    monkeypatch.setitem(actions.ACTIONS, action.slug, failing)
    return failing


def test_several__one_failure_does_not_hide_other_results(monkeypatch: pytest.MonkeyPatch, shelf: Shelf) -> None:
    first, second, third = UserFactory.create_batch(3)
    failing_for(monkeypatch, ANONYMIZE, second, UserFacingError("Another transaction holds them."))
    response = signed_in(superuser()).post(page_url(ANONYMIZE, [first.pk, second.pk, third.pk]))
    assert said(response) == [
        f"Anonymized: {first.pk}, {third.pk}.",
        f"The anonymization failed for {second.pk}: Another transaction holds them.",
        *(alone(first), alone(third)),
    ]
    assert [entry[2] for entry in audited()] == [first.pk, third.pk]


def test_several__a_defect_does_not_hide_other_results(
    monkeypatch: pytest.MonkeyPatch, shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = UserFactory.create_batch(2)
    failing_for(monkeypatch, ANONYMIZE, first, ZeroDivisionError("a defect"))
    response = signed_in(superuser()).post(page_url(ANONYMIZE, [first.pk, second.pk]))
    assert said(response) == [
        f"Anonymized: {second.pk}.",
        f"The anonymization failed for {first.pk}: The server's log has the error. Check these users before you try again.",
        alone(second),
    ]
    assert "a defect" in caplog.text


def test_several__database_errors_are_logged_without_their_values(
    monkeypatch: pytest.MonkeyPatch, shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = UserFactory.create(email="wilhelmina@example.org"), UserFactory.create()

    def violate(user_id: UUID, **options: Any) -> Any:
        if user_id == first.pk:
            with transaction.atomic():
                UserFactory.create(email=first.email)
        return anonymize(user_id, **options)

    monkeypatch.setitem(actions.ACTIONS, ANONYMIZE.slug, replace(ANONYMIZE, perform=violate))
    response = signed_in(superuser()).post(page_url(ANONYMIZE, [first.pk, second.pk]))
    assert said(response) == [
        f"Anonymized: {second.pk}.",
        f"The anonymization failed for {first.pk}: The server's log has the error. Check these users before you try again.",
        alone(second),
    ]
    assert f"Anonymize failed for {first.pk}: UniqueViolation, 23505, users, " in caplog.text
    assert "in violate" in caplog.text and "wilhelmina" not in caplog.text


@pytest.mark.parametrize("action", [ANONYMIZE, SOFT_DELETE, ERASE], ids=lambda action: action.slug)
def test_audit_log_and_messages__no_personal_data(action: PrivacyAction, shelf: Shelf) -> None:
    person = full_life()
    client = signed_in(superuser(email="officer@example.com", full_name="Officer"))
    response = client.post(page_url(action, [person.pk]), {"confirmation": person.email})
    written = f"{list(AuditEntry.objects.values())} {said(response)} {response.headers} {response.cookies}"
    assert not [word for word in WORDS if word in written]
    assert str(person.pk) in written


def test_audit_log__can_be_read_after_the_deletion_of_the_user(shelf: Shelf) -> None:
    person, officer = UserFactory.create(), superuser()
    client = signed_in(officer)
    client.post(page_url(ERASE, [person.pk]), {"confirmation": person.email})
    for wanted in (person.pk, officer.pk):
        change_page = client.get(reverse("admin:privacy_auditentry_changelist"), {"q": str(wanted)}).content.decode()
        assert str(person.pk) in change_page and str(officer.pk) in change_page and "Delete for good" in change_page
    address = reverse("admin:privacy_auditentry_change", args=[AuditEntry.objects.get().pk])
    assert client.get(address).status_code == 200 and client.post(address, {"outcome": "failed"}).status_code == 403


def test_actions__match_the_permissions() -> None:
    declared = {codename for codename, _ in User._meta.permissions}
    assert {action.permission for action in actions.ACTIONS.values()} == declared
