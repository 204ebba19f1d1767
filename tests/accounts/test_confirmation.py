"""Accounts with rights after a restore: no one can use them until the operator confirms them."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.contrib.auth.models import Group, Permission
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import reverse

from accounts.confirmation import disable_staff, unconfirmed
from accounts.models import User
from accounts.restored import end_sessions, forget_failures
from privacy.actions.superusers import active_superusers
from privacy.models import AuditEntry
from tests.factories import PASSWORD, UserFactory
from tests.support.commands import manage_here, refused
from tests.support.staff import person_form, save, signed_in, staff, superuser

pytestmark = pytest.mark.django_db

LOGIN = "admin:login"


def log_in(person: User, password: str = PASSWORD) -> tuple[Client, Any]:
    """Type the address and the password into the login page of the admin."""
    client = Client()
    return client, client.post(reverse(LOGIN), {"username": person.email, "password": password}, follow=True)


def is_in(client: Client) -> bool:
    return client.get(reverse("admin:index")).status_code == 200


def errors_on(response: Any) -> list[str]:
    return [str(error) for error in response.context["form"].non_field_errors()]


@pytest.mark.parametrize("kind", ["staff", "superuser"])
def test_login__after_a_restore__is_refused_like_a_wrong_password(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    person = UserFactory.create(**{kind: True})
    client, _ = log_in(person)
    assert is_in(client)
    disable_staff()
    assert not is_in(client)
    with caplog.at_level(logging.WARNING, "accounts.login"):
        client, refusal = log_in(person)
    assert not is_in(client)
    assert (
        f"Login refused: account {person.pk} is disabled since a restore. Confirm it with manage.py confirm_staff {person.pk}"
        in caplog.messages
    )
    _, wrong = log_in(person, "a wrong password")
    assert errors_on(refusal) == errors_on(wrong) != []
    assert refusal.content.count(b"restore") == refusal.content.count(b"confirm") == 0
    manage_here("confirm_staff", person.email.upper())
    client, _ = log_in(person)
    assert is_in(client)


def test_rights__after_a_restore__are_none_whatever_gives_them() -> None:
    permission = Permission.objects.get(codename="view_user")
    group = Group.objects.create(name="Support")
    group.permissions.add(permission)
    member, of_group, of_permission = UserFactory.create(), UserFactory.create(), UserFactory.create()
    of_group.groups.add(group)
    of_permission.user_permissions.add(permission)
    users = [superuser(), of_group, of_permission]
    assert all(User.objects.get(pk=one.pk).has_perm("accounts.view_user") for one in users)
    assert (
        disable_staff()
        == "3 accounts with rights were disabled. Run manage.py confirm_staff --list, then confirm those that are still valid."
    )
    assert not any(User.objects.get(pk=one.pk).has_perm("accounts.view_user") for one in users)
    assert not active_superusers().exists()
    member.refresh_from_db()
    assert member.is_active
    assert disable_staff() == ""


def test_confirmed_superuser__cannot_confirm_another_account_in_the_admin() -> None:
    boss, dismissed = superuser(), staff()
    disable_staff()
    manage_here("confirm_staff", str(boss.pk))
    client = signed_in(User.objects.get(pk=boss.pk))
    page = client.get(reverse("admin:accounts_user_changelist") + "?state=unconfirmed")
    assert b"Unconfirmed" in page.content
    assert str(dismissed.pk).encode() in page.content
    assert str(boss.pk).encode() not in page.content.split(b"result_list")[-1]
    address = reverse("admin:accounts_user_change", args=[dismissed.pk])
    assert save(client, address, person_form(dismissed, full_name="Changed", unconfirmed_at_0="", unconfirmed_at_1="")).status_code == 302
    dismissed.refresh_from_db()
    assert (dismissed.full_name, dismissed.is_active) == ("Changed", False)


def test_save__of_an_object_from_before_the_restore__confirms_nothing() -> None:
    before = superuser()
    disable_staff()
    before.save()
    assert not User.objects.get(pk=before.pk).is_active


def test_restricted_account__is_disabled_without_a_change_of_its_data() -> None:
    person = staff()
    User.objects.filter(pk=person.pk).update(restricted_at="2026-01-01T00:00:00Z")
    disable_staff()
    manage_here("confirm_staff", "--all")
    assert list(AuditEntry.objects.filter(target_id=person.pk).exclude(action="restrict").values_list("action", flat=True)) == [
        "confirm_staff"
    ]


def test_sessions_and_counted_failures__end() -> None:
    person = superuser()
    client, _ = log_in(person)
    log_in(person, "a wrong password")
    assert (Session.objects.count(), AccessAttempt.objects.count()) == (1, 1)
    assert end_sessions() == "1 session was ended."
    assert forget_failures() == "1 count of failed logins was forgotten."
    assert not is_in(client)
    assert (end_sessions(), forget_failures()) == ("", "")


def test_list__shows_rights_and_exits_with_1() -> None:
    boss, helper = superuser(email="boss@example.org"), staff("accounts.view_user", email="helper@example.org")
    helper.groups.add(Group.objects.create(name="Support"))
    disable_staff()
    code, out, _ = manage_here("confirm_staff", "--list")
    assert code == 1
    assert out.splitlines() == [
        f"boss@example.org ({boss.pk}): superuser",
        f"helper@example.org ({helper.pk}): staff, groups Support, accounts.view_user",
    ]
    listed = json.loads(manage_here("confirm_staff", "--list", "--json")[1])["unconfirmed"]
    assert [one["email"] for one in listed] == ["boss@example.org", "helper@example.org"]
    assert len(unconfirmed()) == 2


def test_confirm__some_and_then_all() -> None:
    users = [superuser(), staff(), staff()]
    disable_staff()
    _, out, _ = manage_here("confirm_staff", str(users[0].pk), users[1].email)
    assert out.splitlines()[0] == "2 accounts were confirmed, 1 is still disabled."
    assert json.loads(manage_here("confirm_staff", "--all", "--json")[1]) == {"confirmed": [str(users[2].pk)], "left": 0}
    assert manage_here("confirm_staff", "--list")[:2] == (0, "No account is disabled.\n")
    assert AuditEntry.objects.filter(action="confirm_staff").count() == 3


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ([], "Name the accounts to confirm, or use --all: nothing was changed. --list shows them."),
        (["--all", "a@example.org"], "Name the accounts to confirm, or use --all: nothing was changed. --list shows them."),
        (["--list", "--all"], "--list changes nothing: give neither USER nor --all with it."),
        (
            ["11111111-1111-4111-8111-111111111111"],
            "PostgreSQL has no user with the id '11111111-1111-4111-8111-111111111111': nothing was changed.",
        ),
    ],
)
def test_confirm__wrong_arguments(arguments: list[str], error: str) -> None:
    assert error in refused("confirm_staff", *arguments)
