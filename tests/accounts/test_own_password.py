"""Wrong old passwords on the page for one's own password count like failed logins."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import time_machine
from axes.models import AccessAttempt, AccessFailureLog
from django.test import Client
from django.urls import reverse

from accounts.login import attempts
from accounts.login.attempts import MAX_NETWORK_FAILURES, MAX_PAIR_FAILURES, PAUSE, WINDOW, network_lock
from accounts.models import User
from tests.factories import PASSWORD, UserFactory
from tests.support.staff import signed_in, staff
from tests.support.threads import in_thread

pytestmark = pytest.mark.django_db

HOME, ELSEWHERE = "192.0.2.7", "198.51.100.9"
NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
PAGE = reverse("admin:password_change")


@pytest.fixture
def clock() -> Iterator[Any]:
    with time_machine.travel(NOW, tick=False) as travel:
        yield travel


@pytest.fixture
def user(clock: Any) -> User:
    return staff(email="root@example.com")


def change(client: Client, network: str = HOME, **fields: str) -> Any:
    posted = {"old_password": PASSWORD, "new_password1": "another-one-5", "new_password2": "another-one-5"} | fields
    return client.post(PAGE, posted, REMOTE_ADDR=network)


def fail(client: Client, times: int, network: str = HOME) -> None:
    for _ in range(times):
        assert change(client, network, old_password="wrong").status_code == 200  # a wrong one


def log_in(user: User, password: str, network: str = HOME) -> int:
    return Client().post(reverse("admin:login"), {"username": user.email, "password": password}, REMOTE_ADDR=network).status_code


def test_own_password__five_wrong_passwords_lock_the_pair(user: User, clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the right password is refused too, and nothing is hashed. The session stays."""
    client = signed_in(user)
    fail(client, MAX_PAIR_FAILURES)
    with monkeypatch.context() as patch:
        patch.setattr(User, "check_password", lambda *_: pytest.fail("a password was checked"))
        patch.setattr(User, "set_password", lambda *_: pytest.fail("a password was hashed"))
        for password in ("wrong", PASSWORD):
            response = change(client, old_password=password)
            assert (response.status_code, response["Retry-After"]) == (429, str(15 * 60))
            assert "Try again in 15 minutes." in response.content.decode()
    user.refresh_from_db()
    assert user.check_password(PASSWORD)
    assert client.get(PAGE).status_code == 200
    clock.shift(WINDOW)
    assert change(client).status_code == 302


def test_own_password__failures_count_together_with_those_of_the_log_in(user: User) -> None:
    client = signed_in(user)
    fail(client, MAX_PAIR_FAILURES - 1)
    assert log_in(user, "wrong") == 200
    assert log_in(user, PASSWORD) == change(client).status_code == 429
    assert log_in(user, PASSWORD, ELSEWHERE) == 302
    assert change(client, ELSEWHERE).status_code == 302


def test_own_password__a_throttled_network_is_refused(user: User, clock: Any) -> None:
    for n in range(MAX_NETWORK_FAILURES):
        AccessAttempt.objects.create(username=f"unknown:{n}", ip_address=HOME, failures_since_start=1)
    client = signed_in(user)
    assert change(client)["Retry-After"] == "10"
    clock.shift(PAUSE)
    fail(client, 1)
    assert change(client).status_code == 429


@pytest.mark.parametrize("new", ["another-one-5", "123"])
def test_own_password__a_right_password_resets_the_count(user: User, new: str) -> None:
    """This holds even if the new password is refused."""
    client = signed_in(user)
    fail(client, MAX_PAIR_FAILURES - 1)
    change(client, new_password1=new, new_password2=new)
    assert not AccessAttempt.objects.exists()


def test_own_password__an_empty_password_does_not_change_the_count(user: User) -> None:
    client = signed_in(user)
    fail(client, 2)
    assert change(client, old_password="").status_code == 200
    assert AccessAttempt.objects.get().failures_since_start == AccessFailureLog.objects.count() == 2


def test_own_password__log_has_each_failure_and_no_address(user: User, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    fail(signed_in(user), MAX_PAIR_FAILURES)
    lines = [f"Wrong old password: account {user.pk}, failure {n} of 5 from its network." for n in range(1, 6)]
    assert [record.getMessage() for record in caplog.records] == [
        *lines,
        f"Login locked for 15 minutes: account {user.pk}, for one network.",
    ]


@pytest.mark.parametrize("who", ["no session", "a member"])
def test_own_password__without_a_session__leads_to_the_log_in_and_is_not_counted(who: str) -> None:
    client = Client() if who == "no session" else signed_in(UserFactory.create())
    assert change(client, old_password="wrong").headers["Location"].startswith(reverse("admin:login"))  # a wrong one
    assert not AccessFailureLog.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_own_password__busy_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt of the network in another process does not end in time."""
    monkeypatch.setattr(attempts, "LOCK_WAIT_SECONDS", 0.01)
    user = staff()
    client, responses = signed_in(user), list[Any]()
    with network_lock(HOME):
        in_thread(lambda: responses.append(change(client))).result()
    assert (responses[0].status_code, responses[0]["Retry-After"]) == (503, "5")
    user.refresh_from_db()
    assert user.check_password(PASSWORD)


@pytest.mark.django_db(transaction=True)
def test_own_password__concurrent_posts_of_many_sessions__have_five_guesses() -> None:
    user, statuses = staff(), list[int]()
    while 429 not in statuses and len(statuses) < 400:
        clients = [signed_in(user) for _ in range(8)]
        threads = [
            in_thread(lambda client=client: statuses.append(change(client, old_password="wrong").status_code))  # type: ignore[misc]
            for client in clients
        ]
        for thread in threads:
            thread.result()
    assert statuses.count(200) == AccessFailureLog.objects.count() == MAX_PAIR_FAILURES
    assert set(statuses) <= {200, 429, 503}
