"""Wrong passwords at the admin's login: counting, locking, throttling and logging."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from axes.models import AccessAttempt, AccessAttemptExpiration, AccessFailureLog, AccessLog
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from accounts.login import retention
from accounts.login.attempts import MAX_NETWORK_FAILURES, MAX_PAIR_FAILURES, PAUSE, WINDOW
from accounts.models import User
from tests.factories import PASSWORD, UserFactory

pytestmark = pytest.mark.django_db

HOME, ELSEWHERE = "192.0.2.7", "198.51.100.9"
NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


@pytest.fixture(autouse=True)
def clock() -> Iterator[Any]:
    with time_machine.travel(NOW, tick=False) as travel:
        yield travel


@pytest.fixture
def admin_user() -> User:
    return UserFactory.create(superuser=True, email="root@example.com")


def post(name: str, password: str, network: str = HOME, **headers: Any) -> Any:
    return Client().post(reverse("admin:login"), {"username": name, "password": password}, REMOTE_ADDR=network, **headers)


def fail(name: str, times: int, network: str = HOME) -> None:
    for _ in range(times):
        assert post(name, "wrong", network).status_code == 200


def test_lock__after_five_failures__refuses_the_right_password_too(admin_user: User) -> None:
    fail(admin_user.email, MAX_PAIR_FAILURES)
    for password in ("wrong", PASSWORD):
        response = post(admin_user.email, password)
        assert (response.status_code, response["Retry-After"]) == (429, str(15 * 60))
        assert "Try again in 15 minutes." in response.content.decode()


def test_lock__covers_the_pair_and_not_the_account(admin_user: User) -> None:
    """No other network can lock out an administrator, and other accounts of the network can still log in."""
    colleague = UserFactory.create(superuser=True)
    fail(admin_user.email, MAX_PAIR_FAILURES)
    assert post(admin_user.email, PASSWORD, ELSEWHERE).status_code == 302
    assert post(colleague.email, PASSWORD).status_code == 302


def test_lock__ignores_the_case_of_the_address(admin_user: User) -> None:
    for name in ("root@example.com", "ROOT@example.com", " root@EXAMPLE.com ", "Root@Example.Com", "rOOT@example.com"):
        fail(name, 1)
    assert post("root@example.com", PASSWORD).status_code == 429


def test_lock__ends_after_fifteen_minutes_even_if_posts_continue(admin_user: User, clock: Any) -> None:
    fail(admin_user.email, MAX_PAIR_FAILURES)
    clock.shift(WINDOW - timedelta(seconds=1))
    response = post(admin_user.email, PASSWORD)
    assert (response.status_code, response["Retry-After"]) == (429, "1")
    clock.shift(timedelta(seconds=1))
    assert post(admin_user.email, PASSWORD).status_code == 302


def test_lock__a_right_password_resets_the_count(admin_user: User) -> None:
    for _ in range(3):
        fail(admin_user.email, MAX_PAIR_FAILURES - 1)
        assert post(admin_user.email, PASSWORD).status_code == 302


def test_lock__failures_of_an_hour_ago_do_not_count(admin_user: User, clock: Any) -> None:
    for _ in range(3):
        fail(admin_user.email, MAX_PAIR_FAILURES - 1)
        clock.shift(WINDOW)
    assert AccessFailureLog.objects.filter(locked_out=True).count() == 0


def test_lock__does_not_reveal_whether_the_account_exists(admin_user: User) -> None:
    fail(admin_user.email, MAX_PAIR_FAILURES)
    fail("unknown@example.com", MAX_PAIR_FAILURES, ELSEWHERE)
    known, unknown = post(admin_user.email, "wrong"), post("unknown@example.com", "wrong", ELSEWHERE)
    assert (known.status_code, known.content) == (unknown.status_code, unknown.content)


def test_lock__hashes_nothing_for_a_locked_pair(admin_user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(admin_user.email, MAX_PAIR_FAILURES)
    monkeypatch.setattr(User, "check_password", lambda *_: pytest.fail("a password was checked"))
    assert post(admin_user.email, PASSWORD).status_code == 429


def test_network__is_throttled_and_not_locked(admin_user: User, clock: Any) -> None:
    """The network has one attempt in ten seconds for all accounts. Other networks are not affected."""
    for n in range(MAX_NETWORK_FAILURES):
        fail(f"guess{n}@example.com", 1)
    response = post(admin_user.email, PASSWORD)
    assert (response.status_code, response["Retry-After"]) == (429, "10")
    assert post(admin_user.email, PASSWORD, ELSEWHERE).status_code == 302
    clock.shift(PAUSE)
    fail("guess@example.com", 1)
    assert post("another@example.com", "wrong").status_code == 429
    clock.shift(PAUSE)
    assert post(admin_user.email, PASSWORD).status_code == 302


def test_network__a_trusted_proxy_does_not_lock_all_users(admin_user: User, settings: Settings) -> None:
    settings.TRUSTED_PROXIES = ["10.0.0.1"]
    for _ in range(MAX_PAIR_FAILURES):
        post(admin_user.email, "wrong", "10.0.0.1", HTTP_X_FORWARDED_FOR=f"1.2.3.4, {ELSEWHERE}")
    assert post(admin_user.email, PASSWORD, "10.0.0.1", HTTP_X_FORWARDED_FOR=ELSEWHERE).status_code == 429
    assert post(admin_user.email, PASSWORD, "10.0.0.1", HTTP_X_FORWARDED_FOR=HOME).status_code == 302


def test_network__a_forged_header_changes_nothing(admin_user: User) -> None:
    for n in range(MAX_PAIR_FAILURES):
        assert post(admin_user.email, "wrong", HTTP_X_FORWARDED_FOR=f"203.0.113.{n}").status_code == 200
    assert post(admin_user.email, PASSWORD, HTTP_X_FORWARDED_FOR="203.0.113.99").status_code == 429


def test_network__of_ipv6_is_a_64(admin_user: User) -> None:
    for n in range(MAX_PAIR_FAILURES):
        fail(admin_user.email, 1, f"2001:db8:1:2::{n}")
    assert post(admin_user.email, PASSWORD, "2001:db8:1:2:ffff::1").status_code == 429
    assert post(admin_user.email, PASSWORD, "2001:db8:1:3::1").status_code == 302


def test_log__has_each_failure_and_no_address(admin_user: User, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    fail(admin_user.email, MAX_PAIR_FAILURES)
    fail("typed@example.com", 1)
    post(admin_user.email, PASSWORD)
    post(admin_user.email, PASSWORD, ELSEWHERE)
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    lines = [f"Login failed: account {admin_user.pk}, failure {n} of 5 from its network." for n in range(1, 6)]
    locked = f"Login locked for 15 minutes: account {admin_user.pk}, for one network."
    unknown = "Login failed: account unknown, failure 1 of 5 from its network."
    assert warnings[:7] == [*lines, locked, unknown]
    for word in ("root@", "typed@", "example.com", HOME, ELSEWHERE, PASSWORD):
        assert not [line for line in map(logging.LogRecord.getMessage, caplog.records) if word in line and "SELECT" not in line]


def test_tables__store_no_typed_text(admin_user: User) -> None:
    """No table has a password that was typed as address, another field, or the address."""
    Client().post(
        f"{reverse('admin:login')}?q=typed-query",
        {"username": "typed-secret", "password": "typed-wrong", "extra": "typed-extra"},
        REMOTE_ADDR=HOME,
        HTTP_USER_AGENT="typed-agent",
        HTTP_ACCEPT="typed-accept",
    )
    fail(admin_user.email, 1)
    post(admin_user.email, PASSWORD, ELSEWHERE)
    rows = [list(model.objects.values()) for model in (AccessAttempt, AccessFailureLog, AccessLog, AccessAttemptExpiration)]
    assert list(map(len, rows)) == [2, 2, 1, 0]
    for word in ("typed", "root@", "example.com"):
        assert word not in str(rows)


def test_records__are_deleted_after_thirty_days(admin_user: User, clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(admin_user.email, 2)
    post(admin_user.email, PASSWORD, ELSEWHERE)
    clock.shift(timedelta(days=30, seconds=1))
    monkeypatch.setattr(retention, "_next_at", float("-inf"))
    fail("other@example.com", 1, "203.0.113.1")
    kept = [model.objects.values_list("ip_address", flat=True) for model in (AccessAttempt, AccessFailureLog, AccessLog)]
    assert [set(addresses) for addresses in kept] == [{"203.0.113.1"}, {"203.0.113.1"}, set()]


def test_records__are_deleted_at_most_once_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(retention, "delete_old_records", lambda: calls.append(1))
    monkeypatch.setattr(retention, "_next_at", float("-inf"))
    for _ in range(5):
        retention.delete_old_records_hourly()
    assert calls == [1]
