"""Process the queue to its end, although a store is unavailable meanwhile."""

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from pytest_django import Settings

from accounts.models import User
from findme.core.errors import StoreUnavailable, UserFacingError
from tests.factories import ProfileEmbeddingFactory, UserFactory
from tests.privacy.elsewhere import another_connection, in_a_thread
from tests.qdrant import free_port
from tests.vectorstore.sync.people import ids, one, people, plain_sql, points, queued
from vectorstore.models import QueueEntry, SyncLease
from vectorstore.projection.points import Points, points_of
from vectorstore.qdrant.connection import collection_name
from vectorstore.qdrant.errors import CollectionNotFound
from vectorstore.queue.entries import Backlog, backlog
from vectorstore.sync import worker as drain
from vectorstore.sync.claims import Claim, claim_due
from vectorstore.sync.leases import finish
from vectorstore.sync.results import BatchResult
from vectorstore.sync.settings import WrongSetting
from vectorstore.sync.worker import Worker, sync_once

EMPTY = Backlog(0, None, 0, 0)


@pytest.mark.django_db
def test_sync_once__until_nothing_is_left(any_collection: str) -> None:
    there = people(5)
    ProfileEmbeddingFactory.create(user__staff=True)
    ProfileEmbeddingFactory.create(user__deleted=True)
    UserFactory.create()
    batches: list[BatchResult] = []
    synced = sync_once(batch_size=2, on_batch=batches.append)
    assert (synced.written, synced.removed, synced.remaining) == (5, 0, EMPTY)
    assert [done.written + done.removed for done in batches] != [5]
    assert points() == ids(there)
    assert sync_once().written == 0


@pytest.mark.django_db
@pytest.mark.parametrize("batch_size", [1, 1000])
def test_sync_once__batches_of_any_size(embedded_collection: str, batch_size: int) -> None:
    there = people(3)
    User.objects.filter(pk=there[0]).delete()
    assert sync_once(batch_size=batch_size).written == 2
    assert points() == ids(there[1:])


@pytest.mark.django_db
def test_sync_once__says_how_old_the_oldest_is(embedded_collection: str) -> None:
    people(2)
    plain_sql(
        "UPDATE vector_sync_queue SET queued_at = clock_timestamp() - interval '90 s' WHERE id = (SELECT min(id) FROM vector_sync_queue)"
    )
    found = backlog()
    assert (found.length, found.leased, found.quarantined) == (2, 0, 0)
    assert found.oldest_seconds is not None and 90 <= found.oldest_seconds < 150


@pytest.mark.django_db
def test_sync_once__where_the_collection_was_never_made(every_store: str) -> None:
    """At once, also with nothing to do: no waiting makes it."""
    with pytest.raises(CollectionNotFound):
        sync_once()


@pytest.mark.django_db
def test_sync_once__with_a_wrong_setting(settings: Settings) -> None:
    settings.SYNC_LEASE_SECONDS = 1.0
    with pytest.raises(WrongSetting):
        sync_once()


@pytest.mark.qdrant_server
@pytest.mark.django_db(transaction=True)
def test_sync_once__waits_for_what_another_worker_holds(server_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    people(2)
    claim = claim_due(uuid4(), 1)
    assert claim is not None
    waited: list[float] = []
    sleep = time.sleep

    def until_the_other_is_done(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            finish(claim)
        sleep(seconds)

    monkeypatch.setattr("findme.core.waiting.time.sleep", until_the_other_is_done)
    assert sync_once().remaining == EMPTY
    assert len(waited) >= 3


@pytest.mark.django_db
def test_sync_once__whom_a_dead_builder_held_without_an_entry_is_looked_at_again(embedded_collection: str, settings: Settings) -> None:
    settings.SYNC_RECHECK_SECONDS = 0.0
    (person,) = people(1)
    QueueEntry.objects.all().delete()
    SyncLease.objects.create(user_id=person, worker_id=uuid4(), expires_at="2020-01-01T00:00Z")
    assert sync_once(timeout=5).written == 1
    assert points() == ids([person])
    assert not SyncLease.objects.exists()


@pytest.mark.django_db
def test_step__a_lost_lease_is_said_once(embedded_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    people(1)
    said: list[str] = []
    worker = Worker(on_unavailable=said.append)

    def slowly(claim: Claim) -> Points:
        SyncLease.objects.update(expires_at="2020-01-01T00:00Z")
        return points_of(claim)

    with monkeypatch.context() as patched:
        patched.setattr("vectorstore.sync.writer.points_of", slowly)
        assert [worker.step() for _ in range(3)] == [None] * 3
    assert said == [
        "The lease on this batch expired and another worker may have taken it over. If this repeats, increase SYNC_LEASE_SECONDS."
    ]
    assert worker.pause > drain.MIN_PAUSE
    assert worker.step() == BatchResult(written=1)


@pytest.mark.django_db
def test_sync_once__no_longer_than_its_timeout(embedded_collection: str) -> None:
    people(2)
    claim = claim_due(uuid4(), 1)
    assert claim is not None
    synced = sync_once(timeout=0.3)
    assert (synced.written, synced.remaining.length, synced.remaining.leased, synced.unavailable) == (1, 1, 1, None)


@pytest.mark.django_db
def test_sync_once__others_getting_on_is_progress(embedded_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain, "RECOUNT_SECONDS", 0.0)
    people(4)
    claims = [claim_due(uuid4(), 1) for _ in range(4)]

    def another_is_done(_seconds: float) -> None:
        if claims and (claim := claims.pop()) is not None:
            finish(claim)

    monkeypatch.setattr("findme.core.waiting.time.sleep", another_is_done)
    assert sync_once(timeout=0.5).remaining == EMPTY


@pytest.mark.django_db
def test_sync_once__a_store_that_is_unavailable_to_the_end(collection: str, settings: Settings) -> None:
    people(1)
    settings.QDRANT_URL = f"http://127.0.0.1:{free_port()}"
    said: list[str] = []
    synced = sync_once(timeout=1, on_unavailable=said.append)
    assert synced.unavailable is not None and synced.unavailable.startswith("Nothing answers at QDRANT_URL")
    assert said == [synced.unavailable]
    assert synced.remaining.length == 1
    assert not SyncLease.objects.exists()


@pytest.mark.django_db
def test_sync_once__a_store_that_is_unavailable_while_others_do_the_rest(collection: str, settings: Settings) -> None:
    """It ends when it has come to the store again, and compared both."""
    people(1)
    url, settings.QDRANT_URL = settings.QDRANT_URL, f"http://127.0.0.1:{free_port()}"

    def others_do_it_and_it_comes_back(_why: str) -> None:
        QueueEntry.objects.all().delete()
        settings.QDRANT_URL = url

    synced = sync_once(timeout=30, on_unavailable=others_do_it_and_it_comes_back)
    assert (synced.written, synced.remaining.length, synced.unavailable) == (0, 0, None)


@pytest.mark.qdrant_server
@pytest.mark.django_db
def test_sync_once__a_store_that_comes_back(server_collection: str, settings: Settings) -> None:
    people(1)
    url, settings.QDRANT_URL = settings.QDRANT_URL, f"http://127.0.0.1:{free_port()}"
    said: list[str] = []

    def comes_back(why: str) -> None:
        said.append(why)
        settings.QDRANT_URL = url

    synced = sync_once(on_unavailable=comes_back)
    assert (synced.written, synced.unavailable, len(said)) == (1, None, 1)


@pytest.mark.django_db(transaction=True)
def test_step__a_session_that_postgresql_ends(embedded_collection: str) -> None:
    people(1)
    pid = one("SELECT pg_backend_pid()")
    with another_connection() as other, other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])
    said: list[str] = []
    worker = Worker(on_unavailable=said.append)
    assert worker.step() is None
    assert worker.step() == BatchResult(written=1)
    assert len(said) == 1 and said[0].startswith("PostgreSQL: ")
    assert worker.unavailable is None


@pytest.mark.django_db(transaction=True)
def test_step__a_standby_that_takes_no_writes(embedded_collection: str) -> None:
    """After a failover, for a moment."""
    people(1)
    plain_sql("SET default_transaction_read_only = on")
    worker = Worker()
    assert worker.step() is None
    assert worker.unavailable is not None and "read-only transaction" in worker.unavailable
    assert worker.step() == BatchResult(written=1)


@pytest.mark.django_db(transaction=True)
def test_step__what_is_in_hand_is_released_over_a_new_connection(embedded_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL ended the session in the middle of the batch."""
    (person,) = people(1)

    def ended(*_arguments: Any) -> None:
        pid = one("SELECT pg_backend_pid()")
        with another_connection() as other, other.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])
        one("SELECT 1")

    worker = Worker()
    with monkeypatch.context() as patched:
        patched.setattr("vectorstore.sync.writer.points_of", ended)
        assert worker.step() is None
    assert not SyncLease.objects.exists()
    assert queued(person) == 2
    assert worker.step() == BatchResult(written=1)


@pytest.mark.django_db
def test_step__pauses_grow_and_what_is_wrong_is_said_once(settings: Settings) -> None:
    settings.QDRANT_URL = f"http://127.0.0.1:{free_port()}"
    said: list[str] = []
    worker = Worker(on_unavailable=said.append)
    pauses = []
    for _ in range(9):
        worker.step()
        pauses.append(worker.pause)
    assert pauses[:3] == [0.2, 0.4, 0.8]
    assert pauses[-1] == 10.0
    assert len(said) == 1


@pytest.mark.qdrant_server
@pytest.mark.django_db
def test_sync_once__another_databases_collection(server_collection: str) -> None:
    """Waiting does not make it ours."""
    people(1)
    plain_sql("UPDATE vector_store_state SET database_id = gen_random_uuid()")
    from vectorstore.consistency import preflight

    preflight.invalidate()
    with pytest.raises(UserFacingError, match="belongs to another database") as raised:
        sync_once()
    assert not isinstance(raised.value, StoreUnavailable)
    assert "manage.py init_qdrant --adopt" in str(raised.value)
    assert queued() == 1


@pytest.mark.qdrant_server
@pytest.mark.django_db(transaction=True)
def test_sync_once__many_at_once_beside_a_writer(server_collection: str) -> None:
    there = people(30)

    def leave() -> None:
        for user_id in there[:10]:
            User.objects.filter(pk=user_id).delete()

    with in_a_thread(lambda: sync_once(batch_size=4)) as a, in_a_thread(lambda: sync_once(batch_size=7)) as b, in_a_thread(leave) as c:
        for future in (a, b, c):
            future.result(60)
    assert sync_once().remaining == EMPTY
    assert points() == ids(there[10:])
    assert collection_name()
    assert connection.in_atomic_block is False
