"""Process the queue to its end, although a store is unavailable meanwhile."""

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from pytest_django import Settings

from accounts.models import User
from findme.core.commands.shutdown import GracefulShutdown
from findme.core.errors import StoreUnavailable, UserFacingError
from tests.factories import ProfileEmbeddingFactory, UserFactory
from tests.qdrant import free_port
from tests.schema.rows import ask
from tests.support.sessions import another_connection
from tests.support.threads import in_thread
from tests.support.users import create_users
from tests.vectorstore.sync.points import ids, one, points, queued
from vectorstore.models import QueueEntry, SyncLease
from vectorstore.projection.points import Points, points_of
from vectorstore.qdrant.connection import collection_name, note_outage
from vectorstore.qdrant.errors import CollectionNotFound
from vectorstore.queue.entries import Backlog, backlog
from vectorstore.sync import worker as worker_module
from vectorstore.sync.claims import Claim, claim_due
from vectorstore.sync.leases import finish
from vectorstore.sync.results import BatchResult
from vectorstore.sync.settings import WrongSetting
from vectorstore.sync.worker import Worker, sync_once

EMPTY = Backlog(0, None, 0, 0)


@pytest.mark.django_db
def test_sync_once__empties_the_queue(any_collection: str) -> None:
    user_ids = create_users(5)
    ProfileEmbeddingFactory.create(user__staff=True)
    ProfileEmbeddingFactory.create(user__deleted=True)
    UserFactory.create()
    batches: list[BatchResult] = []
    synced = sync_once(batch_size=2, on_batch=batches.append)
    assert (synced.written, synced.removed, synced.remaining) == (5, 0, EMPTY)
    assert [batch.written + batch.removed for batch in batches] != [5]
    assert points() == ids(user_ids)
    assert sync_once().written == 0


@pytest.mark.django_db
@pytest.mark.parametrize("batch_size", [1, 1000])
def test_sync_once__batch_of_any_size__syncs_all_users(embedded_collection: str, batch_size: int) -> None:
    user_ids = create_users(3)
    User.objects.filter(pk=user_ids[0]).delete()
    assert sync_once(batch_size=batch_size).written == 2
    assert points() == ids(user_ids[1:])


@pytest.mark.django_db
def test_backlog__reports_the_age_of_the_oldest_entry(embedded_collection: str) -> None:
    create_users(2)
    ask("UPDATE vector_sync_queue SET queued_at = clock_timestamp() - interval '90 s' WHERE id = (SELECT min(id) FROM vector_sync_queue)")
    found = backlog()
    assert (found.length, found.leased, found.quarantined) == (2, 0, 0)
    assert found.oldest_seconds is not None and 90 <= found.oldest_seconds < 150


@pytest.mark.django_db
def test_sync_once__without_a_collection__fails_at_once(every_store: str) -> None:
    """It fails at once, even with an empty queue: waiting does not create the collection."""
    with pytest.raises(CollectionNotFound):
        sync_once()


@pytest.mark.django_db
def test_sync_once__wrong_setting__fails(settings: Settings) -> None:
    settings.SYNC_LEASE_SECONDS = 1.0
    with pytest.raises(WrongSetting):
        sync_once()


@pytest.mark.qdrant_server
@pytest.mark.django_db(transaction=True)
def test_sync_once__waits_for_users_of_another_worker(server_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    create_users(2)
    claim = claim_due(uuid4(), 1)
    assert claim is not None
    pauses_of_worker: list[float] = []
    sleep = time.sleep

    def finish_on_third_pause(seconds: float) -> None:
        pauses_of_worker.append(seconds)
        if len(pauses_of_worker) == 3:
            finish(claim)
        sleep(seconds)

    shutdown = GracefulShutdown()
    monkeypatch.setattr(shutdown.requested, "wait", finish_on_third_pause)
    assert sync_once(shutdown=shutdown).remaining == EMPTY
    assert len(pauses_of_worker) >= 3


@pytest.mark.django_db
def test_sync_once__expired_lease_without_an_entry__user_is_rechecked(embedded_collection: str, settings: Settings) -> None:
    settings.SYNC_RECHECK_SECONDS = 0.0
    (user_id,) = create_users(1)
    QueueEntry.objects.all().delete()
    SyncLease.objects.create(user_id=user_id, worker_id=uuid4(), expires_at="2020-01-01T00:00Z")
    assert sync_once(timeout=60).written == 1
    assert points() == ids([user_id])
    assert not SyncLease.objects.exists()


@pytest.mark.django_db
def test_step__lost_lease__is_reported_once(embedded_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    create_users(1)
    reported: list[str] = []
    worker = Worker(on_unavailable=reported.append)

    def expire_and_read(claim: Claim) -> Points:
        SyncLease.objects.update(expires_at="2020-01-01T00:00Z")
        return points_of(claim)

    with monkeypatch.context() as patched:
        patched.setattr("vectorstore.sync.writer.points_of", expire_and_read)
        assert [worker.step() for _ in range(3)] == [None] * 3
    assert reported == [
        "The lease on this batch expired and another worker may have taken it over. If this repeats, increase SYNC_LEASE_SECONDS."
    ]
    assert worker.pause > worker_module.MIN_PAUSE
    assert worker.step() == BatchResult(written=1)


@pytest.mark.django_db
def test_sync_once__ends_after_its_timeout(embedded_collection: str) -> None:
    create_users(2)
    claim = claim_due(uuid4(), 1)
    assert claim is not None
    synced = sync_once(timeout=0.3)
    assert (synced.written, synced.remaining.length, synced.remaining.leased, synced.unavailable) == (1, 1, 1, None)


@pytest.mark.django_db
def test_sync_once__progress_of_other_workers__restarts_the_timeout(embedded_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "RECOUNT_SECONDS", 0.0)
    create_users(4)
    claims = [claim_due(uuid4(), 1) for _ in range(4)]
    monotonic, passed = time.monotonic, 0.0
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + passed)

    def finish_one_claim(_seconds: float) -> None:
        nonlocal passed
        passed += 200
        if claims and (claim := claims.pop()) is not None:
            finish(claim)

    shutdown = GracefulShutdown()
    monkeypatch.setattr(shutdown.requested, "wait", finish_one_claim)
    assert sync_once(timeout=300, shutdown=shutdown).remaining == EMPTY
    assert passed > 2 * 300


@pytest.mark.django_db
def test_sync_once__store_stays_unavailable__reports_it_once_and_releases(collection: str, settings: Settings) -> None:
    create_users(1)
    settings.QDRANT_URL = f"http://127.0.0.1:{free_port()}"
    reported: list[str] = []
    synced = sync_once(timeout=1, on_unavailable=reported.append)
    assert synced.unavailable is not None and synced.unavailable.startswith("Nothing answers at QDRANT_URL")
    assert reported == [synced.unavailable]
    assert synced.remaining.length == 1
    assert not SyncLease.objects.exists()


@pytest.mark.django_db
def test_sync_once__unavailable_while_others_empty_the_queue__ends_when_it_is_back(collection: str, settings: Settings) -> None:
    """It ends when the store is available again and both stores were compared."""
    create_users(1)
    url, settings.QDRANT_URL = settings.QDRANT_URL, f"http://127.0.0.1:{free_port()}"

    def empty_queue_and_bring_store_back(_why: str) -> None:
        QueueEntry.objects.all().delete()
        settings.QDRANT_URL = url

    synced = sync_once(timeout=30, on_unavailable=empty_queue_and_bring_store_back)
    assert (synced.written, synced.remaining.length, synced.unavailable) == (0, 0, None)


@pytest.mark.qdrant_server
@pytest.mark.django_db
def test_sync_once__store_is_available_again__syncs(server_collection: str, settings: Settings) -> None:
    create_users(1)
    url, settings.QDRANT_URL = settings.QDRANT_URL, f"http://127.0.0.1:{free_port()}"
    reported: list[str] = []

    def bring_store_back(why: str) -> None:
        reported.append(why)
        settings.QDRANT_URL = url

    synced = sync_once(on_unavailable=bring_store_back)
    assert (synced.written, synced.unavailable, len(reported)) == (1, None, 1)


@pytest.mark.django_db(transaction=True)
def test_step__session_ended_by_postgresql__next_step_works(embedded_collection: str) -> None:
    create_users(1)
    pid = one("SELECT pg_backend_pid()")
    with another_connection() as other, other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])
    reported: list[str] = []
    worker = Worker(on_unavailable=reported.append)
    assert worker.step() is None
    assert worker.step() == BatchResult(written=1)
    assert len(reported) == 1 and reported[0].startswith("PostgreSQL: ")
    assert worker.unavailable is None


@pytest.mark.django_db(transaction=True)
def test_step__read_only_standby__is_reported_and_next_step_works(embedded_collection: str) -> None:
    """This happens for a moment after a failover."""
    create_users(1)
    ask("SET default_transaction_read_only = on")
    worker = Worker()
    assert worker.step() is None
    assert worker.unavailable is not None and "read-only transaction" in worker.unavailable
    assert worker.step() == BatchResult(written=1)


@pytest.mark.django_db(transaction=True)
def test_step__session_ended_in_a_batch__releases_over_a_new_connection(embedded_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL ends the session in the middle of a batch."""
    (user_id,) = create_users(1)

    def end_session(*_arguments: Any) -> None:
        pid = one("SELECT pg_backend_pid()")
        with another_connection() as other, other.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])
        one("SELECT 1")

    worker = Worker()
    with monkeypatch.context() as patched:
        patched.setattr("vectorstore.sync.writer.points_of", end_session)
        assert worker.step() is None
    assert not SyncLease.objects.exists()
    assert queued(user_id) == 2
    assert worker.step() == BatchResult(written=1)


@pytest.mark.django_db
def test_step__unavailable__pauses_grow_and_it_is_reported_once(settings: Settings) -> None:
    settings.QDRANT_URL = f"http://127.0.0.1:{free_port()}"
    reported: list[str] = []
    worker = Worker(on_unavailable=reported.append)
    pauses = []
    for _ in range(9):
        worker.step()
        pauses.append(worker.pause)
    assert pauses[:3] == [0.2, 0.4, 0.8]
    assert pauses[-1] == 10.0
    assert len(reported) == 1


@pytest.mark.qdrant_server
@pytest.mark.django_db
def test_sync_once__collection_of_another_database__fails_at_once(server_collection: str) -> None:
    """Waiting does not change the owner of the collection."""
    create_users(1)
    ask("UPDATE vector_store_state SET database_id = gen_random_uuid()")
    note_outage()
    with pytest.raises(UserFacingError, match="belongs to another database") as raised:
        sync_once()
    assert not isinstance(raised.value, StoreUnavailable)
    assert "manage.py init_qdrant --adopt" in str(raised.value)
    assert queued() == 1


@pytest.mark.qdrant_server
@pytest.mark.django_db(transaction=True)
def test_sync_once__concurrent_workers_and_a_writer__agree(server_collection: str) -> None:
    user_ids = create_users(30)

    def delete_users() -> None:
        for user_id in user_ids[:10]:
            User.objects.filter(pk=user_id).delete()

    with (
        in_thread(lambda: sync_once(batch_size=4)) as a,
        in_thread(lambda: sync_once(batch_size=7)) as b,
        in_thread(delete_users) as c,
    ):
        for future in (a, b, c):
            future.result(60)
    assert sync_once().remaining == EMPTY
    assert points() == ids(user_ids[10:])
    assert collection_name()
    assert connection.in_atomic_block is False
