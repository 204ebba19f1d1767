"""The time of the last login, also during an anonymization."""

from __future__ import annotations

import pytest
from django.contrib.auth.signals import user_logged_in
from django.test import Client

from accounts.models import User
from tests.factories import UserFactory
from tests.support.sessions import another_connection, is_waiting_for_lock
from tests.support.threads import in_thread
from tests.support.waiting import wait_until

pytestmark = pytest.mark.django_db


def last_login_of(person: User) -> object:
    return User.objects.values_list("last_login", flat=True).get(pk=person.pk)


def test_login__is_recorded() -> None:
    person = UserFactory.create()
    Client().force_login(person)
    assert person.last_login is not None
    assert last_login_of(person) == person.last_login


@pytest.mark.parametrize("kind", ["deleted", "anonymized"])
def test_login__of_a_removed_user_is_not_recorded(kind: str) -> None:
    person = UserFactory.create(**{kind: True})
    before = last_login_of(person)
    user_logged_in.send(sender=User, request=None, user=person)
    assert last_login_of(person) == before


@pytest.mark.django_db(transaction=True)
def test_login__during_an_anonymization__waits_and_is_not_recorded() -> None:
    person = UserFactory.create()
    with another_connection() as other, other.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("UPDATE users SET deleted_at = NOW(), last_login = NULL WHERE id = %s", [person.pk])
        with in_thread(lambda: user_logged_in.send(sender=User, request=None, user=person)) as login:
            wait_until(is_waiting_for_lock, "the login waits")
            cursor.execute("COMMIT")
            login.result()
    assert last_login_of(person) is None
