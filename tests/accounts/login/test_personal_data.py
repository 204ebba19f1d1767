"""The records of logins are exported, and deleted with the user."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import pytest
from axes.models import AccessAttempt, AccessFailureLog, AccessLog

from accounts.login.attempts import find_account, record_failure, record_login
from accounts.login.personal_data import LogIns
from accounts.models import User
from privacy.declarations import Disposition
from privacy.registry import Effect
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db

HOME = "192.0.2.7"
TABLES = (AccessAttempt, AccessFailureLog, AccessLog)


def fail(email: str, network: str = HOME) -> None:
    record_failure(email, find_account(email), network)


@pytest.fixture
def user() -> User:
    """Return a user with two failed logins, one failure from before the account existed, and one login."""
    fail("Jane@example.com")
    person = UserFactory.create(email="jane@example.com")
    fail(person.email)
    fail(person.email, "198.51.100.9")
    record_login(person, HOME)
    return person


@pytest.fixture
def colleague() -> User:
    person = UserFactory.create()
    fail(person.email)
    record_login(person, HOME)
    return person


def counts() -> list[int]:
    return [model.objects.count() for model in TABLES]


def test_export__times_and_networks(user: User, colleague: User) -> None:
    exported = LogIns().export(user.pk)
    assert [row["ip_address"] for row in exported["failures"]] == [HOME, HOME, "198.51.100.9"]
    assert [row["failures_since_start"] for row in exported["counted"]] == [1, 1, 1]
    (log_in,) = exported["log_ins"]
    assert log_in == {"attempt_time": AccessLog.objects.get(username=str(user.pk)).attempt_time, "ip_address": HOME}


@pytest.mark.parametrize("remove", [LogIns().anonymize, LogIns().erase])
def test_removal__deletes_only_the_users_records(user: User, colleague: User, remove: Callable[[UUID], None]) -> None:
    assert counts() == [4, 4, 2]
    remove(user.pk)
    assert counts() == [1, 1, 1]
    assert {row.username for model in TABLES for row in model.objects.all()} == {str(colleague.pk)}


def test_preview__counts_them(user: User) -> None:
    assert LogIns().after_anonymization(user.pk) == [Effect("records of logins", 7, Disposition.DELETED)]
    assert LogIns().after_erasure(user.pk) == [Effect("records of logins", 7, Disposition.DELETED)]
    assert LogIns().after_soft_deletion(user.pk) == [Effect("records of logins", 7, Disposition.KEPT)]


def test_preview__without_log_ins__is_empty() -> None:
    assert LogIns().after_erasure(UserFactory.create().pk) == []


def test_anonymize__of_the_whole_user_finds_the_digest_before_the_address_is_cleared(user: User) -> None:
    """The owner of logins runs before the owner of the profile."""
    from privacy.registry import registry

    for owner in registry.owners:
        owner.anonymize(user.pk)
    assert counts() == [0, 0, 0]
