"""Renew, finish and release claims (protocol rules 5 and 7)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from pytest_django import Settings

from findme.core.db.clock import database_clock
from tests.factories import UserFactory
from tests.support.sessions import another_connection
from tests.vectorstore.sync.points import one, queued
from vectorstore.models import QuarantinedUser, QueueEntry, SyncLease, SyncWorker
from vectorstore.queue.entries import enqueue, is_empty
from vectorstore.sync.claims import Claim, claim_due
from vectorstore.sync.leases import LeaseLost, expire_leases, finish, release, release_all, renew
from vectorstore.sync.rechecks import start_recheck_delay
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


def test_renew__uses_the_clock_of_the_database(settings: Settings) -> None:
    settings.SYNC_LEASE_SECONDS = 20.0
    claim = claimed(3)
    SyncLease.objects.update(expires_at=database_clock() + timedelta(seconds=1))
    before = database_clock()
    renewed_at = renew(claim)
    assert before < renewed_at < database_clock()
    assert all(
        before < expires_at - timedelta(seconds=20) < database_clock()
        for expires_at in SyncLease.objects.values_list("expires_at", flat=True)
    )


def test_renew__expired_lease_that_no_worker_took__is_lost() -> None:
    claim = claimed()
    SyncLease.objects.update(expires_at=LONG_AGO)
    with pytest.raises(LeaseLost) as raised:
        renew(claim)
    assert (
        str(raised.value)
        == "The lease on this batch expired and another worker may have taken it over. If this repeats, increase SYNC_LEASE_SECONDS."
    )
    assert SyncLease.objects.get().expires_at == LONG_AGO


def test_renew__one_user_leased_by_another_worker__is_lost() -> None:
    claim = claimed(2)
    SyncLease.objects.filter(pk=min(claim.users)).update(worker_id=uuid4())
    with pytest.raises(LeaseLost):
        renew(claim)


def test_renew__remaining_time_below_the_request_timeout__is_lost(settings: Settings) -> None:
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


def test_finish__lost_lease__queues_a_recheck() -> None:
    claim = claimed(2)
    lost = min(claim.users)
    SyncLease.objects.filter(pk=lost).update(expires_at=LONG_AGO)
    assert finish(claim) == 1
    assert (queued(lost), queued()) == (2, 2)
    assert rechecks() == [lost]
    assert not SyncLease.objects.exists()


def test_finish__rejected_users__are_quarantined() -> None:
    user_id, lost, gone = UserFactory.create().pk, UserFactory.create().pk, uuid4()
    enqueue([user_id, lost, gone])
    claim = claim_due(uuid4(), 3)
    assert claim is not None
    SyncLease.objects.filter(pk=lost).update(worker_id=uuid4())
    finish(claim, [RejectedUser(user_id, "some_v1", "too long") for user_id in (user_id, lost, gone)])
    assert list(QuarantinedUser.objects.values_list("user_id", "collection", "reason")) == [(user_id, "some_v1", "too long")]
    assert queued(user_id, gone) == 0


@pytest.mark.parametrize("unanswered", [True, False])
def test_release__unanswered_request__queues_rechecks(unanswered: bool) -> None:
    claim = claimed(2)
    release(claim, unanswered=unanswered)
    assert not SyncLease.objects.exists()
    assert sorted(map(str, rechecks())) == (sorted(map(str, claim.users)) if unanswered else [])


def test_release__repeated__queues_one_recheck_per_user() -> None:
    """This happens in a long outage."""
    for _ in range(5):
        claim = claim_due(uuid4(), 3) or claimed(3)
        release(claim, unanswered=True)
    assert len(rechecks()) == 3


def test_release__second_time__recheck_awaits_an_answer_to_a_later_request() -> None:
    """An answer to a request sent between the two releases does not concern the second one."""
    release(claimed(), unanswered=True)
    between = database_clock()
    again = claim_due(uuid4(), 10)
    assert again is not None
    release(again, unanswered=True)
    assert start_recheck_delay(between) == 0
    assert start_recheck_delay(database_clock()) == 1


@pytest.mark.django_db(transaction=True)
def test_release__recheck_locked_by_another_worker__queues_a_new_one() -> None:
    (user_id,) = (claim := claimed()).users
    release(claim, unanswered=True)
    again = claim_due(uuid4(), 10)
    assert again is not None
    with another_connection() as other, other.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("UPDATE vector_sync_queue SET awaits_ack = false WHERE awaits_ack")
        release(again, unanswered=True)
        cursor.execute("COMMIT")
    assert rechecks() == [user_id]


def test_expire_leases__users_without_an_entry__are_rechecked() -> None:
    claim = claimed(2)
    QueueEntry.objects.all().delete()
    assert is_empty()
    SyncLease.objects.filter(pk=min(claim.users)).update(expires_at=LONG_AGO)
    assert not is_empty()
    assert (expire_leases(), expire_leases()) == (1, 0)
    assert rechecks() == [min(claim.users)]
    assert SyncLease.objects.get().user_id == max(claim.users)


def test_expire_leases__worker_without_heartbeat__is_deleted() -> None:
    live_worker, _gone = (
        SyncWorker.objects.create(id=uuid4(), host="", pid=1),
        SyncWorker.objects.create(id=uuid4(), host="", pid=2, heartbeat_at=LONG_AGO),
    )
    expire_leases()
    assert SyncWorker.objects.get() == live_worker


def test_release_all__releases_and_rechecks_the_users_of_the_worker() -> None:
    claim, other = claimed(2), claimed()
    SyncWorker.objects.create(id=claim.worker, host="", pid=1)
    release_all(claim.worker)
    assert SyncLease.objects.get().worker_id == other.worker
    assert set(rechecks()) == claim.users
    assert not SyncWorker.objects.exists()


# --- Rechecks ----------------------------------------------------------------------------------------------------------------


def test_start_recheck_delay__request_sent_before_the_recheck__does_not_count(settings: Settings) -> None:
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
def test_start_recheck_delay__recheck_locked_by_another_worker__is_skipped() -> None:
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
def test_check_settings__lease_not_longer_than_a_request__fails(settings: Settings, lease: float, timeout: float, line: str) -> None:
    settings.SYNC_LEASE_SECONDS, settings.QDRANT_TIMEOUT = lease, timeout
    with pytest.raises(WrongSetting) as raised:
        check_settings()
    assert str(raised.value) == line


def test_check_settings__negative_recheck_delay__fails(settings: Settings) -> None:
    settings.SYNC_RECHECK_SECONDS = -1.0
    with pytest.raises(WrongSetting) as raised:
        check_settings()
    assert str(raised.value) == "SYNC_RECHECK_SECONDS is -1.0. Set it to a number of seconds from 0 to 86400 (one day)."


def test_check_settings__lease_longer_than_a_request__passes(settings: Settings) -> None:
    settings.QDRANT_TIMEOUT = 59.0
    check_settings()
