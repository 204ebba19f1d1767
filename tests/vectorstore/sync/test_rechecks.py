"""Rechecks (protocol rule 7).

An absent point accepts any write, so an abandoned request can bring a deleted point back.
"""

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
from tests.schema.rows import ask
from tests.support.commands import run_python
from tests.support.users import create_users
from tests.vectorstore.sync.points import ids, point, points, queued
from vectorstore.models import QueueEntry, SyncLease
from vectorstore.qdrant import write
from vectorstore.schema.initialize import initialize
from vectorstore.sync.inline import point_of
from vectorstore.sync.worker import Worker, sync_once

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.qdrant_server]


@pytest.fixture(autouse=True)
def short_timeouts(settings: Settings) -> None:
    settings.QDRANT_TIMEOUT, settings.SYNC_LEASE_SECONDS, settings.SYNC_RECHECK_SECONDS = 1.0, 3.0, 1.0


def hold_back_upsert(monkeypatch: pytest.MonkeyPatch, user_id: UUID) -> Callable[[], object]:
    """Let the upsert of the user time out, and return a function with which it arrives."""
    late: list[Callable[[], object]] = []
    upsert = write.upsert

    def time_out(*arguments: Any, **options: Any) -> Any:
        late.append(lambda: upsert(*arguments, **options))
        raise ResponseHandlingException(httpx.ReadTimeout(""))

    with monkeypatch.context() as patched:
        patched.setattr(write, "upsert", time_out)
        worker = Worker()
        assert worker.step() is None
        assert worker.unavailable is not None and "did not answer within 1 s" in worker.unavailable
    assert QueueEntry.objects.filter(user_id=user_id, awaits_ack=True).count() == 1
    return late[0]


def test_recheck__upsert_arrives_after_the_deletion__point_is_removed_again(
    server_collection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (user_id,) = create_users(1)
    let_arrive = hold_back_upsert(monkeypatch, user_id)
    User.objects.all().delete()
    worker = Worker()
    assert worker.step() is not None  # the deletion, which Qdrant answers
    waiting = QueueEntry.objects.get()
    assert (waiting.awaits_ack, waiting.not_before is not None) == (False, True)
    let_arrive()
    assert points() == ids([user_id])
    assert sync_once().removed == 1
    assert points() == set()


def test_recheck__upsert_arrives_after_a_newer_one__newer_point_stays(server_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (user_id,) = create_users(1)
    let_arrive = hold_back_upsert(monkeypatch, user_id)
    ask("UPDATE users SET active = false WHERE id = %s", user_id)
    Worker().step()
    let_arrive()
    assert point(user_id)["payload"]["active"] is False
    sync_once()
    assert point(user_id)["payload"]["active"] is False


def test_recheck__without_other_work__worker_requests_an_answer(server_collection: str, settings: Settings) -> None:
    """Without an answer, the delay does not begin."""
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
def test_recheck__frozen_server_resumes__no_point_is_left(memory_path: Path, settings: Settings, with_grpc: bool) -> None:
    """By REST, an upsert that timed out stays in the server's socket.

    The server applies it when it resumes, before or after the deletion.
    """
    with started_qdrant(memory_path) as server:
        settings.QDRANT_URL, settings.QDRANT_GRPC_PORT = server.url, server.grpc_port if with_grpc else 0
        initialize()
        user_ids = create_users(20)
        worker = Worker(batch_size=5)
        sync_once(timeout=30)
        ask("DELETE FROM users")
        sync_once(timeout=30)
        user_ids = create_users(20)
        freeze(server)
        for _ in range(3):
            assert worker.step() is None
        User.objects.all().delete()
        thaw(server)
        synced = sync_once(timeout=30)
        assert (synced.remaining.length, points()) == (0, set())
    assert len(user_ids) == 20


KILLED = """
import os, signal
from vectorstore.qdrant import write as conditional_write
from vectorstore.sync.worker import sync_once

conditional_write.upsert = lambda *arguments, **options: os.kill(os.getpid(), signal.SIGKILL)
sync_once()
"""


def test_recheck__killed_worker__its_users_are_written_after_its_lease(server_collection: str) -> None:
    """The killed worker's requests may still arrive.

    Its users are written after its lease has expired, and again later.
    """
    user_id, other = create_users(2)
    assert run_python(KILLED)[0] == -signal.SIGKILL
    assert SyncLease.objects.count() == 2
    User.objects.filter(pk=other).delete()
    synced = sync_once(timeout=30)
    assert (synced.written, synced.remaining.length) == (2, 0)
    assert points() == ids([user_id])
    assert not SyncLease.objects.exists()


def test_recheck__long_outage__rechecks_do_not_accumulate(server_collection: str, settings: Settings) -> None:
    user_ids = create_users(3)
    url = settings.QDRANT_URL
    worker = Worker()
    for port in range(9, 14):  # another port each time: the worker connects, claims, and finds no server
        settings.QDRANT_URL = f"http://127.0.0.1:{port}"
        with pytest.raises(StoreUnavailable):
            point_of(user_ids[0])
        assert worker.step() is None
    settings.QDRANT_URL = url
    assert queued() <= 2 * len(user_ids)
    assert sync_once(timeout=30).remaining.length == 0
