"""Time limits of sessions."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import reverse

from accounts.login.session_limits import SENSITIVE, STARTED_AT
from tests.support.staff import signed_in, staff, superuser

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def clock() -> Iterator[Any]:
    with time_machine.travel(datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC), tick=False) as travel:
        yield travel


def is_in(client: Client) -> bool:
    return client.get(reverse("admin:index")).status_code == 200


def use_for(client: Client, clock: Any, hours: int) -> None:
    for _ in range(hours * 3):
        assert is_in(client)
        clock.shift(timedelta(minutes=20))


def test_session__ends_twelve_hours_after_the_login_also_in_use(clock: Any) -> None:
    client = signed_in(superuser())
    use_for(client, clock, 12)
    assert not is_in(client)
    assert Session.objects.count() == 0


@pytest.mark.parametrize("permission", SENSITIVE)
def test_session__of_staff_with_a_sensitive_permission__ends_after_half_an_hour_idle(clock: Any, permission: str) -> None:
    client = signed_in(staff(permission))
    clock.shift(timedelta(minutes=29))
    assert is_in(client)
    clock.shift(timedelta(minutes=29, seconds=59))
    assert is_in(client)
    clock.shift(timedelta(minutes=30))
    assert not is_in(client)


def test_session__of_a_superuser_ends_after_half_an_hour_idle(clock: Any) -> None:
    client = signed_in(superuser())
    clock.shift(timedelta(minutes=30))
    assert not is_in(client)


def test_session__of_others_stays_idle_for_hours(clock: Any) -> None:
    client = signed_in(staff("accounts.view_user", "accounts.soft_delete_user"))
    clock.shift(timedelta(hours=11))
    assert is_in(client)
    clock.shift(timedelta(hours=1))
    assert not is_in(client)


def test_session__without_a_start_time__ends() -> None:
    client = signed_in(superuser())
    session = client.session
    del session[STARTED_AT]
    session.save()
    assert not is_in(client)


def test_session__is_written_at_most_once_a_minute(clock: Any, django_assert_num_queries: Any) -> None:
    client = signed_in(staff("accounts.view_user"))
    is_in(client)
    before = Session.objects.get().session_data
    clock.shift(timedelta(seconds=59))
    is_in(client)
    assert Session.objects.get().session_data == before
    clock.shift(timedelta(seconds=1))
    is_in(client)
    assert Session.objects.get().session_data != before


def test_session__ended_before_a_post__leads_to_the_login(clock: Any) -> None:
    person = superuser()
    client = signed_in(person)
    clock.shift(timedelta(hours=12))
    address = reverse("admin:accounts_user_change", args=[person.pk])
    response = client.post(address, {"full_name": "Changed"})
    assert (response.status_code, response["Location"]) == (302, f"{reverse('admin:login')}?next={address}")
    person.refresh_from_db()
    assert person.full_name != "Changed"
