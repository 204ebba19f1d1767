"""Keeping and ending a claim (protocol, rules 5 and 7)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from pytest_django import Settings

from tests.factories import UserFactory
from tests.privacy.elsewhere import another_connection
from tests.vectorstore.sync.people import one, queued
from vectorstore.models import QuarantinedUser, QueueEntry, SyncLease, SyncWorker
from vectorstore.queue.entries import enqueue, is_empty
from vectorstore.sync.claims import Claim, claim_due
from vectorstore.sync.leases import LeaseLost, database_clock, expire_leases, finish, release, release_all, renew, start_recheck_delay
from vectorstore.sync.results import RejectedUser
from vectorstore.sync.settings import WrongSetting, check_settings

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("registered")]

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def claimed(count: int = 1) -> Claim:
    enqueue([uuid4() for _ in range(count)])
    claim = claim_due(uuid4(), count)
    assert claim is not None
    return claim


def rechecks() -> list[UUID | None]:
    return list(QueueEntry.objects.filter(awaits_ack=True, urgent=True).values_list("user_id", flat=True))


# --- Renewing --------------------------------------------------------------------------------------------------------------------


def test_renew__by_the_databases_clock(settings: Settings) -> None:
    settings.SYNC_LEASE_SECONDS = 20.0
    claim = claimed(3)
    SyncLease.objects.update(expires_at=database_clock() + timedelta(seconds=1))
    before = database_clock()
    shown = renew(claim)
    assert before < shown < database_clock()
    assert all(
        before < until - timedelta(seconds=20) < database_clock() for until in SyncLease.objects.values_list("expires_at", flat=True)
    )


def test_renew__a_lease_that_has_run_out_is_lost_though_nobody_took_it() -> None:
    claim = claimed()
    SyncLease.objects.update(expires_at=LONG_AGO)
    with pytest.raises(LeaseLost) as raised:
        renew(claim)
    assert (
        str(raised.value)
        == "The lease on this batch expired and another worker may have taken it over. If this repeats, increase SYNC_LEASE_SECONDS."
    )
    assert SyncLease.objects.get().expires_at == LONG_AGO


def test_renew__of_whom_one_was_taken_over() -> None:
    claim = claimed(2)
    SyncLease.objects.filter(pk=min(claim.users)).update(worker_id=uuid4())
    with pytest.raises(LeaseLost):
        renew(claim)


def test_renew__where_less_than_a_requests_timeout_is_left(settings: Settings) -> None:
    claim = claimed()
    settings.SYNC_LEASE_SECONDS, settings.QDRANT_TIMEOUT = 5.0, 5.0
    with pytest.raises(LeaseLost):
        renew(claim)
    settings.QDRANT_TIMEOUT = 4.0
    renew(claim)


# --- Ending ----------------------------------------------------------------------------------------------------------------------


def test_finish__releases_all_users() -> None:
    claim = claimed(2)
    assert finish(claim) == 0
    assert not SyncLease.objects.exists()
    assert is_empty()


def test_finish__whoever_was_lost_is_looked_at_again() -> None:
    claim = claimed(2)
    lost = min(claim.users)
    SyncLease.objects.filter(pk=lost).update(expires_at=LONG_AGO)
    assert finish(claim) == 1
    assert (queued(lost), queued()) == (2, 2)
    assert rechecks() == [lost]
    assert not SyncLease.objects.exists()


def test_finish__quarantines_whom_qdrant_refuses() -> None:
    person, lost, gone = UserFactory.create().pk, UserFactory.create().pk, uuid4()
    enqueue([person, lost, gone])
    claim = claim_due(uuid4(), 3)
    assert claim is not None
    SyncLease.objects.filter(pk=lost).update(worker_id=uuid4())
    finish(claim, [RejectedUser(user_id, "some_v1", "too long") for user_id in (person, lost, gone)])
    assert list(QuarantinedUser.objects.values_list("user_id", "collection", "reason")) == [(person, "some_v1", "too long")]
    assert queued(person, gone) == 0


@pytest.mark.parametrize("unanswered", [True, False])
def test_release__with_a_recheck_where_a_request_is_unanswered(unanswered: bool) -> None:
    claim = claimed(2)
    release(claim, unanswered=unanswered)
    assert not SyncLease.objects.exists()
    assert sorted(map(str, rechecks())) == (sorted(map(str, claim.users)) if unanswered else [])


def test_release__again_and_again_does_not_pile_up_rechecks() -> None:
    """A long outage."""
    for _ in range(5):
        claim = claim_due(uuid4(), 3) or claimed(3)
        release(claim, unanswered=True)
    assert len(rechecks()) == 3


def test_release__again_the_recheck_awaits_an_answer_to_what_is_sent_afterwards() -> None:
    """One to a request that was sent between the two tells nothing of the second."""
    release(claimed(), unanswered=True)
    between = database_clock()
    again = claim_due(uuid4(), 10)
    assert again is not None
    release(again, unanswered=True)
    assert start_recheck_delay(between) == 0
    assert start_recheck_delay(database_clock()) == 1


@pytest.mark.django_db(transaction=True)
def test_release__a_recheck_that_is_just_being_armed_is_not_that_of_the_next_request() -> None:
    (person,) = (claim := claimed()).users
    release(claim, unanswered=True)
    again = claim_due(uuid4(), 10)
    assert again is not None
    with another_connection() as other, other.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("UPDATE vector_sync_queue SET awaits_ack = false WHERE awaits_ack")
        release(again, unanswered=True)
        cursor.execute("COMMIT")
    assert rechecks() == [person]


def test_expire_leases__frees_users_that_a_dead_worker_held_without_an_entry() -> None:
    claim = claimed(2)
    QueueEntry.objects.all().delete()
    assert is_empty()
    SyncLease.objects.filter(pk=min(claim.users)).update(expires_at=LONG_AGO)
    assert not is_empty()
    assert (expire_leases(), expire_leases()) == (1, 0)
    assert rechecks() == [min(claim.users)]
    assert SyncLease.objects.get().user_id == max(claim.users)


def test_expire_leases__deletes_workers_that_were_killed() -> None:
    there, _gone = (
        SyncWorker.objects.create(id=uuid4(), host="", pid=1),
        SyncWorker.objects.create(id=uuid4(), host="", pid=2, heartbeat_at=LONG_AGO),
    )
    expire_leases()
    assert SyncWorker.objects.get() == there


def test_release_all__users_that_a_worker_still_holds() -> None:
    claim, other = claimed(2), claimed()
    SyncWorker.objects.create(id=claim.worker, host="", pid=1)
    release_all(claim.worker)
    assert SyncLease.objects.get().worker_id == other.worker
    assert set(rechecks()) == claim.users
    assert not SyncWorker.objects.exists()


# --- Rechecks ----------------------------------------------------------------------------------------------------------------


def test_start_recheck_delay__what_was_sent_before_they_were_queued_tells_nothing(settings: Settings) -> None:
    settings.SYNC_RECHECK_SECONDS = 30.0
    sent_at = database_clock()
    release(claimed(), unanswered=True)
    assert start_recheck_delay(sent_at) == 0
    now = database_clock()
    assert start_recheck_delay(now) == 1
    entry = QueueEntry.objects.get(urgent=True)
    assert entry.not_before is not None
    assert (entry.awaits_ack, entry.not_before > now + timedelta(seconds=30)) == (False, True)
    assert start_recheck_delay(database_clock()) == 0


@pytest.mark.django_db(transaction=True)
def test_start_recheck_delay__leaves_to_another_worker_what_that_one_begins() -> None:
    release(claimed(), unanswered=True)
    with another_connection() as other, other.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT FROM vector_sync_queue WHERE awaits_ack FOR UPDATE")
        one("SELECT set_config('lock_timeout', '1s', false)")
        assert start_recheck_delay(database_clock()) == 0
        one("SELECT set_config('lock_timeout', '0', false)")
        cursor.execute("ROLLBACK")
    assert start_recheck_delay(database_clock()) == 1


# --- Settings --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lease", "timeout", "line"),
    [
        (
            10.0,
            10.0,
            "SYNC_LEASE_SECONDS is 10.0. Set it to a number of seconds greater than QDRANT_TIMEOUT (10) and at most 86400 (one day).",
        ),
        (
            10.0,
            9.5,
            "SYNC_LEASE_SECONDS is 10.0. Set it to a number of seconds greater than QDRANT_TIMEOUT (10) and at most 86400 (one day).",
        ),
        (
            float("nan"),
            5.0,
            "SYNC_LEASE_SECONDS is nan. Set it to a number of seconds greater than QDRANT_TIMEOUT (5) and at most 86400 (one day).",
        ),
        (
            86_401.0,
            5.0,
            "SYNC_LEASE_SECONDS is 86401.0. Set it to a number of seconds greater than QDRANT_TIMEOUT (5) and at most 86400 (one day).",
        ),
        (60.0, 0.0, "QDRANT_TIMEOUT is 0.0: set a number of seconds above 0 and at most 86400 (one day)."),
    ],
)
def test_check_settings__a_lease_is_longer_than_a_request(settings: Settings, lease: float, timeout: float, line: str) -> None:
    settings.SYNC_LEASE_SECONDS, settings.QDRANT_TIMEOUT = lease, timeout
    with pytest.raises(WrongSetting) as raised:
        check_settings()
    assert str(raised.value) == line


def test_check_settings__a_recheck_comes_after_a_while(settings: Settings) -> None:
    settings.SYNC_RECHECK_SECONDS = -1.0
    with pytest.raises(WrongSetting) as raised:
        check_settings()
    assert str(raised.value) == "SYNC_RECHECK_SECONDS is -1.0. Set it to a number of seconds from 0 to 86400 (one day)."


def test_check_settings__as_they_are(settings: Settings) -> None:
    settings.QDRANT_TIMEOUT = 59.0
    check_settings()
