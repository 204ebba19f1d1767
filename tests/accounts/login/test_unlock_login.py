"""``unlock_login``, and the records of logins that ``apply_retention`` deletes."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from axes.models import AccessAttempt, AccessFailureLog
from django.utils import timezone

from accounts.login.attempts import MAX_PAIR_FAILURES, find_account, record_failure, time_to_wait
from accounts.models import User
from tests.factories import UserFactory
from tests.support.commands import manage_here

pytestmark = pytest.mark.django_db

HOME, ELSEWHERE = "192.0.2.7", "198.51.100.9"


@pytest.fixture
def user() -> User:
    person = UserFactory.create(email="jane@example.com")
    lock(person.email, HOME)
    lock(person.email, ELSEWHERE)
    return person


def lock(email: str, network: str) -> None:
    for _ in range(MAX_PAIR_FAILURES):
        record_failure(email, find_account(email), network)


def is_locked(email: str, network: str) -> bool:
    return time_to_wait(find_account(email), network) is not None


@pytest.mark.parametrize("written", ["JANE@example.com", "id"])
def test_unlock__user(user: User, written: str) -> None:
    lock("bob@example.com", HOME)
    assert manage_here("unlock_login", user.pk if written == "id" else written) == (0, "10 failed logins were forgotten.\n", "")
    assert [is_locked(user.email, HOME), is_locked(user.email, ELSEWHERE), is_locked("bob@example.com", HOME)] == [False, False, True]
    assert AccessFailureLog.objects.count() == 15


@pytest.mark.parametrize("network", [HOME, "192.0.2.0/24", "::ffff:192.0.2.7"])
def test_unlock__network(user: User, network: str) -> None:
    assert manage_here("unlock_login", "--network", network) == (0, "5 failed logins were forgotten.\n", "")
    assert [is_locked(user.email, HOME), is_locked(user.email, ELSEWHERE)] == [False, True]


def test_unlock__network_of_ipv6_by_any_of_its_addresses() -> None:
    lock("jane@example.com", "2001:db8:1:2::")
    assert manage_here("unlock_login", "--network", "2001:db8:1:2:3::4")[1] == "5 failed logins were forgotten.\n"


def test_unlock__user_and_network(user: User) -> None:
    lock("bob@example.com", HOME)
    code, out, _err = manage_here("unlock_login", user.email, "--network", HOME, "--json")
    assert (code, json.loads(out)) == (0, {"user_id": str(user.pk), "network": f"{HOME}/32", "failures": 5, "dry_run": False})
    assert [is_locked(user.email, HOME), is_locked(user.email, ELSEWHERE), is_locked("bob@example.com", HOME)] == [False, True, True]


def test_unlock__dry_run_changes_nothing(user: User) -> None:
    assert manage_here("unlock_login", user.email, "--dry-run") == (0, "10 failed logins would be forgotten.\n", "")
    assert is_locked(user.email, HOME)


def test_unlock__nothing_to_do() -> None:
    assert manage_here("unlock_login", "--network", HOME) == (0, "No failed login counts: nothing was locked.\n", "")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((), "Neither USER nor --network is given: nothing was changed. Add USER, --network ADDRESS, or both.\n"),
        (("jane",), "'jane' is neither a UUID nor an e-mail address. Pass one of them.\n"),
        (("--network", "1.2.3"), "argument --network: '1.2.3' is neither an IP address nor a network. See manage.py unlock_login --help\n"),
    ],
)
def test_unlock__wrong_arguments__one_line(arguments: tuple[str, ...], line: str) -> None:
    assert manage_here("unlock_login", *arguments) == (2, "", line)


def test_apply_retention__records_of_log_ins(user: User) -> None:
    AccessFailureLog.objects.filter(ip_address=HOME).update(attempt_time=timezone.now() - timedelta(days=30, seconds=1))
    AccessFailureLog.objects.filter(ip_address=ELSEWHERE).update(attempt_time=timezone.now() - timedelta(days=29, hours=23))
    code, out, err = manage_here("apply_retention")
    assert (code, out.splitlines()[0], err) == (0, "log_ins: 5 rows older than 30 days deleted.", "")
    assert (AccessFailureLog.objects.count(), AccessAttempt.objects.count()) == (5, 2)
    assert json.loads(manage_here("apply_retention", "--json")[1])["sections"][0] == {
        "section": "log_ins",
        "deleted": 0,
        "retention_days": 30,
    }
