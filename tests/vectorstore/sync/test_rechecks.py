"""An absent point takes any write: a request that nobody waits for any more can bring a deleted point back (protocol, rule 7)."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from pytest_django import Settings
from qdrant_client.http.exceptions import ResponseHandlingException

from accounts.models import User
from findme.core.errors import StoreUnavailable
from tests.qdrant import freeze, started_qdrant, thaw
from tests.vectorstore.commands import run_python
from tests.vectorstore.sync.people import ids, people, plain_sql, point, points, queued
from vectorstore.models import QueueEntry, SyncLease
from vectorstore.qdrant import write
from vectorstore.schema.initialize import initialize
from vectorstore.sync.removal import point_of
from vectorstore.sync.worker import Worker, sync_once

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.qdrant_server]


@pytest.fixture(autouse=True)
def impatient(settings: Settings) -> None:
    settings.QDRANT_TIMEOUT, settings.SYNC_LEASE_SECONDS, settings.SYNC_RECHECK_SECONDS = 1.0, 3.0, 1.0


def held_back(monkeypatch: pytest.MonkeyPatch, person: UUID) -> Callable[[], object]:
    """An upsert of PERSON that has timed out; it arrives when it is called."""
    late: list[Callable[[], object]] = []
    upsert = write.upsert

    def timing_out(*arguments: Any, **options: Any) -> Any:
        late.append(lambda: upsert(*arguments, **options))
        raise ResponseHandlingException(httpx.ReadTimeout(""))

    with monkeypatch.context() as patched:
        patched.setattr(write, "upsert", timing_out)
        worker = Worker()
        assert worker.step() is None
        assert worker.unavailable is not None and "did not answer within 1 s" in worker.unavailable
    assert QueueEntry.objects.filter(user_id=person, awaits_ack=True).count() == 1
    return late[0]


def test_a_request_that_is_held_back_until_the_person_is_gone(server_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (person,) = people(1)
    arrives = held_back(monkeypatch, person)
    User.objects.all().delete()
    worker = Worker()
    assert worker.step() is not None  # the deletion; and Qdrant has answered now
    waiting = QueueEntry.objects.get()
    assert (waiting.awaits_ack, waiting.not_before is not None) == (False, True)
    arrives()
    assert points() == ids([person])
    assert sync_once().removed == 1
    assert points() == set()


def test_a_request_that_is_held_back_until_a_newer_one_is_done(server_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (person,) = people(1)
    arrives = held_back(monkeypatch, person)
    plain_sql("UPDATE users SET active = false WHERE id = %s", person)
    Worker().step()
    arrives()
    assert point(person)["payload"]["active"] is False
    sync_once()
    assert point(person)["payload"]["active"] is False


def test_without_other_work_qdrant_is_asked_for_an_answer(server_collection: str, settings: Settings) -> None:
    """And where it gives none, the wait does not begin."""
    QueueEntry.objects.create(user_id=None, awaits_ack=True)
    url, settings.QDRANT_URL = settings.QDRANT_URL, "http://127.0.0.1:9"
    worker = Worker()
    assert worker.step() is None
    assert worker.unavailable is not None
    assert QueueEntry.objects.get().awaits_ack
    settings.QDRANT_URL = url
    assert worker.step() is None
    assert not QueueEntry.objects.get().awaits_ack


@pytest.mark.parametrize("with_grpc", [False, True])
def test_a_server_that_was_frozen_still_applies_what_it_had(memory_path: Path, settings: Settings, with_grpc: bool) -> None:
    """By REST an upsert that timed out lies in its socket, and is done when it goes on: before the deletion, or after it."""
    with started_qdrant(memory_path) as server:
        settings.QDRANT_URL, settings.QDRANT_GRPC_PORT = server.url, server.grpc_port if with_grpc else 0
        initialize()
        everybody = people(20)
        worker = Worker(batch_size=5)
        sync_once(timeout=30)
        plain_sql("DELETE FROM users")
        sync_once(timeout=30)
        everybody = people(20)
        freeze(server)
        for _ in range(3):
            assert worker.step() is None
        User.objects.all().delete()
        thaw(server)
        synced = sync_once(timeout=30)
        assert (synced.remaining.length, points()) == (0, set())
    assert len(everybody) == 20


KILLED = """
import os, signal
from vectorstore.qdrant import write as conditional_write
from vectorstore.sync.worker import sync_once

conditional_write.upsert = lambda *arguments, **options: os.kill(os.getpid(), signal.SIGKILL)
sync_once()
"""


def test_a_worker_that_was_killed_is_waited_for_and_its_people_looked_at_again(server_collection: str) -> None:
    """What it had sent may arrive until then: people are written when its lease has run out, and once more after that."""
    person, other = people(2)
    assert run_python(KILLED)[0] == -signal.SIGKILL
    assert SyncLease.objects.count() == 2
    User.objects.filter(pk=other).delete()
    synced = sync_once(timeout=30)
    assert (synced.written, synced.remaining.length) == (2, 0)
    assert points() == ids([person])
    assert not SyncLease.objects.exists()


def test_during_a_long_outage_rechecks_do_not_pile_up(server_collection: str, settings: Settings) -> None:
    everybody = people(3)
    url = settings.QDRANT_URL
    worker = Worker()
    for port in range(9, 14):  # another server each time: the worker connects, claims, and finds nobody
        settings.QDRANT_URL = f"http://127.0.0.1:{port}"
        with pytest.raises(StoreUnavailable):
            point_of(everybody[0])
        assert worker.step() is None
    settings.QDRANT_URL = url
    assert queued() <= 2 * len(everybody)
    assert sync_once(timeout=30).remaining.length == 0
