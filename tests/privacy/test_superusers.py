"""One superuser always remains, also if two remove each other at the same moment, in any way."""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, BrokenBarrierError, local
from typing import Any
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command
from django.db import connections, transaction
from django.test import Client
from django.urls import reverse

from accounts.models import User
from findme.core.admin.model_admin import FindmeModelAdmin
from findme.core.errors import UserFacingError
from privacy.actions import locking
from privacy.actions.anonymize import anonymize
from privacy.actions.erase import erase, soft_delete
from privacy.actions.superusers import active_superusers, check_removal
from privacy.admin.actions import ANONYMIZE, ERASE, SOFT_DELETE, PrivacyAction
from privacy.admin.view import page_url
from tests.factories import UserFactory
from tests.privacy.shelf import Shelf
from tests.support.staff import errors_of, opened, person_form, said, save, signed_in, superuser

LAST = "is the last active superuser: nothing was changed. Run manage.py createsuperuser first."
NO_MORE = "Your account is no longer an active superuser: nothing was changed. Ask another superuser."
ACTIONS = pytest.mark.parametrize("action", [ANONYMIZE, SOFT_DELETE, ERASE], ids=lambda action: action.slug)
FUNCTIONS = pytest.mark.parametrize("remove", [anonymize, soft_delete, erase])
RIGHTS = pytest.mark.parametrize("right", ["is_superuser", "is_staff", "active"])
COMMANDS = {"anonymize": ["anonymize_user"], "soft-delete": ["erase_user", "--soft"], "erase": ["erase_user", "--hard"]}
SECONDS = 30.0
"""Seconds that one thread waits until the other has locked its row too."""


def change_page(person: User) -> str:
    return reverse("admin:accounts_user_change", args=[person.pk])


@pytest.fixture
def rows_locked_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each of two threads continue when both have locked the row that they will change."""
    both, here = Barrier(2), local()

    def wait() -> None:
        if not getattr(here, "has_waited", False):
            here.has_waited = True
            try:
                both.wait(SECONDS)
            except BrokenBarrierError:
                pytest.fail("The two did not hold their rows at the same time.")

    lock, lock_of_form = locking._lock, FindmeModelAdmin._lock

    def lock_and_wait(user_id: UUID) -> Any:
        person = lock(user_id)
        wait()
        return person

    def lock_of_form_and_wait(model_admin: Any, object_id: str) -> None:
        lock_of_form(model_admin, object_id)
        wait()

    monkeypatch.setattr(locking, "_lock", lock_and_wait)
    monkeypatch.setattr(FindmeModelAdmin, "_lock", lock_of_form_and_wait)


def together(*functions: Callable[[], Any]) -> list[Any]:
    """Run both functions in threads with their own connections, and return both results."""

    def run(function: Callable[[], Any]) -> Any:
        try:
            return function()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        return [future.result() for future in [pool.submit(run, function) for function in functions]]


def refusal(function: Callable[[], Any]) -> Callable[[], str]:
    """Return the message of the UserFacingError of the function, or an empty text."""

    def run() -> str:
        try:
            function()
        except UserFacingError as error:
            return str(error)
        return ""

    return run


def removal(client: Client, action: PrivacyAction, person: User) -> Callable[[], list[str]]:
    """Press the button on the page of the action, and return the message of the admin."""
    words = {"confirmation": str(person.pk)}
    return lambda: said(client.post(page_url(action, [person.pk]), words))


@ACTIONS
@pytest.mark.django_db(transaction=True)
def test_admin__two_remove_each_other(action: PrivacyAction, shelf: Shelf, rows_locked_together: None) -> None:
    ann, ben = superuser(), superuser()
    answers = together(removal(signed_in(ann), action, ben), removal(signed_in(ben), action, ann))
    (stays,) = active_superusers()
    assert sum(NO_MORE in " ".join(answer) for answer in answers) == 1
    assert NO_MORE in " ".join(answers[0 if stays == ben else 1])


@pytest.mark.django_db(transaction=True)
def test_admin__three_remove_in_a_circle__one_is_refused(shelf: Shelf, rows_locked_together: None) -> None:
    """A third superuser exists. All the same, no removed account may remove another."""
    ann, ben = superuser(), superuser()
    superuser()
    answers = together(removal(signed_in(ann), ANONYMIZE, ben), removal(signed_in(ben), ANONYMIZE, ann))
    assert active_superusers().count() == 2
    assert sum(NO_MORE in " ".join(answer) for answer in answers) == 1


@RIGHTS
@pytest.mark.django_db(transaction=True)
def test_form__two_remove_each_others_rights(right: str, rows_locked_together: None) -> None:
    ann, ben = superuser(), superuser()

    def take(actor: User, person: User) -> Callable[[], Any]:
        client = signed_in(actor)
        posted = person_form(person, **{right: ""}) | opened(client, change_page(person))
        return lambda: client.post(change_page(person), posted)

    answers = together(take(ann, ben), take(ben, ann))
    assert active_superusers().count() == 1
    assert sorted(answer.status_code for answer in answers) == [200, 302]
    (refused,) = (answer for answer in answers if answer.status_code == 200)
    assert errors_of(refused) == {"__all__": [NO_MORE]}


@pytest.mark.django_db(transaction=True)
def test_form_and_action__concurrently(shelf: Shelf, rows_locked_together: None) -> None:
    ann, ben = superuser(), superuser()
    client = signed_in(ann)
    posted = person_form(ben, active="") | opened(client, change_page(ben))
    together(lambda: client.post(change_page(ben), posted), removal(signed_in(ben), SOFT_DELETE, ann))
    assert active_superusers().count() == 1


@pytest.mark.django_db(transaction=True)
@FUNCTIONS
def test_commands__two_remove_the_last_two_superusers(remove: Callable[..., Any], shelf: Shelf, rows_locked_together: None) -> None:
    """The commands call these functions without an actor."""
    ann, ben = superuser(), superuser()
    answers = together(refusal(lambda: remove(ann.pk)), refusal(lambda: remove(ben.pk)))
    (stays,) = active_superusers()
    assert sorted(answers) == ["", f"{str(stays.pk)!r} {LAST}"]


@pytest.mark.django_db(transaction=True)
@ACTIONS
def test_command__last_superuser__is_refused(action: PrivacyAction, shelf: Shelf) -> None:
    ann = superuser()
    UserFactory.create(superuser=True, inactive=True), UserFactory.create(superuser=True, deleted=True), UserFactory.create(staff=True)
    name, *how = COMMANDS[action.slug]
    with pytest.raises(CommandError) as refused:
        call_command(name, str(ann.pk), "--no-input", *how)
    assert (refused.value.returncode, str(refused.value)) == (2, f"{str(ann.pk)!r} {LAST}")
    assert list(active_superusers()) == [ann]
    superuser()
    call_command(name, str(ann.pk), "--no-input", *how, stdout=io.StringIO())
    assert ann not in active_superusers()


@pytest.mark.django_db
@RIGHTS
def test_form__can_remove_the_rights_of_another(right: str) -> None:
    ann, ben = superuser(), superuser()
    assert save(signed_in(ann), change_page(ben), person_form(ben, **{right: ""})).status_code == 302
    assert list(active_superusers()) == [ann]


@pytest.mark.django_db
def test_check_removal__of_a_member() -> None:
    """An actor who is no superuser may remove a member, but not if the member became a superuser after the page was shown."""
    member, actor = UserFactory.create(), UserFactory.create(staff=True)
    check_removal(member.pk, actor.pk)
    User.objects.filter(pk=member.pk).update(is_staff=True, is_superuser=True)
    superuser()
    with pytest.raises(UserFacingError, match="is no longer an active superuser"):
        check_removal(member.pk, actor.pk)


@pytest.mark.django_db
@pytest.mark.parametrize("password", ["", "!unusable"])
def test_check_removal__a_superuser_who_cannot_log_in_does_not_count(password: str) -> None:
    ann, bob = superuser(), superuser()
    User.objects.filter(pk=bob.pk).update(password=password)
    with transaction.atomic(), pytest.raises(UserFacingError, match="is the last active superuser"):
        check_removal(ann.pk, None)
