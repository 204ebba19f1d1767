"""``sync_qdrant --watch`` in its own process.

It ends after a signal, and never because a store is unavailable.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.db import connection
from django.utils.timezone import now
from pytest_django import Settings

from findme.core.commands.shutdown import GracefulShutdown
from tests.qdrant import QdrantServer, freeze, started_qdrant, thaw
from tests.schema.rows import ask
from tests.support.commands import started, watching
from tests.support.processes import ended
from tests.support.sessions import another_connection
from tests.support.threads import in_thread
from tests.support.users import create_users
from tests.support.waiting import DEADLINE_SECONDS, wait_until
from tests.vectorstore.storm.server import Server
from tests.vectorstore.sync.points import ids, one, points, queued
from tests.vectorstore.sync.proxy import PostgresProxy, postgres_proxy
from vectorstore.consistency.capture_check import CaptureCheck
from vectorstore.models import QueueEntry, SyncLease, SyncWorker
from vectorstore.queue.entries import enqueue
from vectorstore.schema.initialize import initialize
from vectorstore.sync import watch
from vectorstore.sync.worker import Worker, sync_once

pytestmark = pytest.mark.django_db(transaction=True)

SHUTDOWN_SECONDS = 30
"""Far below the request timeout and the lease of these tests. The worker itself allows ten seconds."""


def is_sleeping() -> bool:
    """Return whether a worker has registered itself as sleeping."""
    return SyncWorker.objects.filter(sleeping_until__isnull=False).exists()


def end(process: subprocess.Popen[str], number: signal.Signals = signal.SIGTERM) -> tuple[int, str, str]:
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=SHUTDOWN_SECONDS)
    return process.returncode, stdout, stderr


@pytest.fixture
def long_timeouts(settings: Settings) -> None:
    settings.QDRANT_TIMEOUT, settings.SYNC_LEASE_SECONDS = 120.0, 600.0


@pytest.fixture(params=[False, True], ids=["rest", "grpc"])
def own_server(request: pytest.FixtureRequest, memory_path: Path, settings: Settings) -> Iterator[QdrantServer]:
    """A server that a test may freeze."""
    with started_qdrant(memory_path) as server:
        settings.QDRANT_URL, settings.QDRANT_GRPC_PORT = server.url, server.grpc_port if request.param else 0
        initialize()
        QueueEntry.objects.all().delete()
        yield server


# --- Shutdown --------------------------------------------------------------------------------------------------------------------


@pytest.mark.at_length("15")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_watch__signal_while_idle__ends(embedded_collection: str, number: signal.Signals) -> None:
    with watching() as process:
        wait_until(is_sleeping, "The worker sleeps")
        code, stdout, stderr = end(process, number)
    assert (code, stderr) == (0, "")
    assert re.fullmatch("Watching .*\n", stdout)
    assert not SyncWorker.objects.exists()


@pytest.mark.qdrant_server
@pytest.mark.usefixtures("long_timeouts")
def test_watch__signal_during_a_batch__finishes_the_batch(own_server: QdrantServer) -> None:
    with watching() as process:
        wait_until(is_sleeping, "The worker sleeps")
        freeze(own_server)
        user_ids = create_users(3)
        wait_until(lambda: SyncLease.objects.count() > 0, "Users are leased")
        process.send_signal(signal.SIGTERM)
        thaw(own_server)
        code, stdout, stderr = ended(process)
    assert (code, stderr) == (0, "")
    assert " written, 0 removed; " in stdout
    assert not SyncLease.objects.exists()
    sync_once()
    assert points() == ids(user_ids)


@pytest.mark.qdrant_server
@pytest.mark.at_length("grpc")
@pytest.mark.usefixtures("long_timeouts")
def test_watch__signal_while_qdrant_is_frozen__releases_its_leases(own_server: QdrantServer) -> None:
    with watching() as process:
        wait_until(is_sleeping, "The worker sleeps")
        freeze(own_server)
        (user_id,) = create_users(1)
        wait_until(lambda: SyncLease.objects.count() == 1, "The user is leased")
        assert end(process)[0] == 0
        thaw(own_server)
    assert not SyncLease.objects.exists()
    assert QueueEntry.objects.filter(user_id=user_id, awaits_ack=True).count() == 1
    assert not SyncWorker.objects.exists()


@pytest.mark.qdrant_server
@pytest.mark.parametrize("leased", [False, True], ids=["idle", "leased"])
def test_watch__signal_while_postgresql_is_frozen__ends(
    memory_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, leased: bool
) -> None:
    settings.QDRANT_TIMEOUT, settings.SYNC_LEASE_SECONDS = 120.0, 600.0
    with started_qdrant(memory_path) as server, postgres_proxy() as postgresql:
        settings.QDRANT_URL, settings.QDRANT_API_KEY, settings.QDRANT_GRPC_PORT = server.url, "", 0
        initialize()
        postgresql.open()
        with watching_through(postgresql, monkeypatch) as process:
            wait_until(is_sleeping, "The worker sleeps")
            if leased:
                freeze(server)
                create_users(1)
                wait_until(lambda: SyncLease.objects.count() == 1, "The user is leased")
            postgresql.frozen.set()
            assert end(process)[0] == 0
            thaw(server)
            postgresql.frozen.clear()
    assert SyncLease.objects.count() == int(leased)


@pytest.mark.qdrant_server
@pytest.mark.long
@pytest.mark.at_length("0.4")
@pytest.mark.parametrize("after", [0.0, 0.4])
def test_sync_once__frozen_postgresql__ends(memory_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, after: float) -> None:
    """PostgreSQL may freeze during any statement: nothing else reports that it is unavailable."""
    with started_qdrant(memory_path) as server, postgres_proxy() as postgresql:
        settings.QDRANT_URL, settings.QDRANT_API_KEY, settings.QDRANT_GRPC_PORT = server.url, "", 0
        initialize()
        (user_id,) = create_users(1)
        SyncLease.objects.create(
            user_id=user_id, worker_id=uuid4(), expires_at=now() + timedelta(hours=1)
        )  # the command waits for this user
        postgresql.open()
        with working_through(postgresql, monkeypatch, "--once", "--timeout", "2") as process:
            wait_until(postgresql.connected.is_set, "The command has connected")
            time.sleep(after)  # at some point of the work after that
            postgresql.frozen.set()
            _printed, stderr = process.communicate(timeout=60)
            postgresql.frozen.clear()
    assert process.returncode == 2
    assert "PostgreSQL: " in stderr
    assert "Traceback" not in stderr


def watching_through(postgresql: PostgresProxy, monkeypatch: pytest.MonkeyPatch) -> AbstractContextManager[subprocess.Popen[str]]:
    return working_through(postgresql, monkeypatch, "--watch")


@contextmanager
def working_through(postgresql: PostgresProxy, monkeypatch: pytest.MonkeyPatch, *options: str) -> Iterator[subprocess.Popen[str]]:
    from tests.support import commands

    proxied = commands.environment() | {"DATABASE_URL": f"{postgresql.url()}?connect_timeout=2"}
    with monkeypatch.context() as patched:
        patched.setattr(commands, "environment", lambda: proxied)
        process = started("sync_qdrant", *options)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


# --- Unavailable stores ----------------------------------------------------------------------------------------------------------


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    return process.stderr.readline()


@pytest.mark.qdrant_server
def test_watch__started_while_qdrant_is_down__syncs_when_it_is_up(memory_path: Path, settings: Settings) -> None:
    server = Server(memory_path)
    settings.QDRANT_URL, settings.QDRANT_API_KEY, settings.QDRANT_GRPC_PORT = server.address.url, "", 0
    server.start()
    try:
        initialize()
        server.kill()
        with watching() as process:
            user_ids = create_users(2)
            line = first_line(process)
            assert line.startswith(f"Nothing answers at QDRANT_URL '{server.address.url}' (")
            assert line.endswith(": start Qdrant, or correct QDRANT_URL. Trying again.\n")
            server.start()
            wait_until(lambda: queued() == 0, "The queue is empty")
            code, stdout, stderr = end(process)
        assert (code, stderr) == (0, "")
        assert "2 written, 0 removed; " in stdout
        assert points() == ids(user_ids)
    finally:
        server.stop()


def test_watch__started_while_postgresql_is_down__syncs_when_it_is_up(embedded_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with postgres_proxy() as postgresql:
        user_ids = create_users(2)
        with watching_through(postgresql, monkeypatch) as process:
            line = first_line(process)
            assert line.startswith("PostgreSQL: ")
            assert line.endswith(". Trying again.\n")
            postgresql.open()
            wait_until(lambda: queued() == 0, "The queue is empty")
            assert end(process)[::2] == (0, "")
    assert points() == ids(user_ids)


@pytest.mark.at_length
def test_watch__missing_collection__waits_until_it_is_created(embedded_qdrant: Path) -> None:
    """``--once`` reports that the collection does not exist and ends. ``--watch`` waits for it."""
    user_ids = create_users(2)
    with watching() as process:
        assert first_line(process) == ("Qdrant has no collection 'profile_embeddings': make it with manage.py init_qdrant. Trying again.\n")
        initialize()
        wait_until(lambda: queued() == 0, "The queue is empty")
        assert end(process)[::2] == (0, "")
    assert points() == ids(user_ids)


@pytest.mark.at_length
def test_watch__wrong_setting__exits_2(embedded_qdrant: Path, settings: Settings) -> None:
    settings.SYNC_LEASE_SECONDS = 5.0
    assert ended(started("sync_qdrant", "--watch")) == (
        2,
        "",
        "SYNC_LEASE_SECONDS is 5.0. Set it to a number of seconds greater than QDRANT_TIMEOUT (10) and at most 86400 (one day).\n",
    )


def test_watch__runs_one_capture_check_repeatedly(embedded_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    checks, shutdown = list[CaptureCheck](), GracefulShutdown()

    def run(check: CaptureCheck) -> None:
        checks.append(check)
        if len(checks) == 2:
            shutdown.requested.set()

    monkeypatch.setattr(CaptureCheck, "run", run)
    watch.watch(shutdown)
    assert checks[0] is checks[1]


@pytest.mark.at_length
def test_watch__start__prints_which_stores_it_watches(embedded_collection: str, settings: Settings) -> None:
    with watching() as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert end(process) == (0, "", "")
    database = connection.settings_dict
    assert line.startswith(f"Watching the queue in the PostgreSQL database '{database['NAME']}'")
    assert line.endswith(f", for 'profile_embeddings' in the embedded Qdrant in {settings.QDRANT_PATH}. Ctrl-C ends it.\n")
    assert not database["PASSWORD"] or database["PASSWORD"] not in line


@pytest.mark.at_length
def test_watch__start_with_json__prints_which_stores_it_watches(embedded_collection: str, settings: Settings) -> None:
    with watching("--json") as process:
        assert process.stdout is not None
        (watched,) = json.loads(process.stdout.readline()).values()
        assert end(process) == (0, "", "")
    assert (watched["collection"], watched["qdrant"]) == ("profile_embeddings", f"the embedded Qdrant in {settings.QDRANT_PATH}")


# --- Sleeping --------------------------------------------------------------------------------------------------------------------


def test_sleep__new_entry__ends_it(registered: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The notification ends the sleep long before the worker's own next check."""
    monkeypatch.setattr(watch, "SLEEP_SECONDS", 10 * DEADLINE_SECONDS)
    with in_thread(lambda: watch._sleep(Worker(), Event())) as sleeping:
        wait_until(is_sleeping, "The worker sleeps")
        assert not sleeping.done()
        create_users(1)
        sleeping.result(DEADLINE_SECONDS)


def test_sleep__queue_is_not_empty__does_not_sleep(registered: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry came after the worker's last check and before it was registered as sleeping."""
    monkeypatch.setattr(watch, "SLEEP_SECONDS", 10 * DEADLINE_SECONDS)
    enqueue([uuid4()])
    with in_thread(lambda: watch._sleep(Worker(), Event())) as sleeping:
        sleeping.result(DEADLINE_SECONDS)


def test_write_heartbeat__busy_worker__stays_on_the_list(registered: str, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker()
    watch._write_heartbeat(worker)
    ask("UPDATE vector_sync_workers SET heartbeat_at = '2020-01-01'")
    watch._write_heartbeat(worker)
    assert one("SELECT heartbeat_at < '2021-01-01' FROM vector_sync_workers")
    monkeypatch.setattr(watch, "HEARTBEAT_SECONDS", 0.0)
    watch._write_heartbeat(worker)
    worker_row = SyncWorker.objects.get()
    assert (worker_row.id, worker_row.pid, worker_row.heartbeat_at.year > 2020) == (worker.id, os.getpid(), True)


def notified(session: Any) -> list[str]:
    return [notice.payload for notice in session.notifies(timeout=60, stop_after=1)]


@pytest.mark.parametrize("sleeper", [None, "awake", "asleep"])
def test_enqueue__notifies_only_while_a_worker_sleeps(registered: str, sleeper: str | None) -> None:
    ask("DELETE FROM vector_sync_workers")
    if sleeper:
        until = "clock_timestamp() + interval '1 hour'" if sleeper == "asleep" else "clock_timestamp() - interval '1 second'"
        ask(f"INSERT INTO vector_sync_workers (id, host, pid, sleeping_until) VALUES (gen_random_uuid(), '', 1, {until})")
    with another_connection() as other:
        other.ensure_connection()
        session = other.connection
        assert isinstance(session, psycopg.Connection)
        session.execute("LISTEN vector_sync")
        enqueue([uuid4()])
        one("SELECT pg_notify('vector_sync', 'the end')::text")
        assert notified(session)[0] == ("" if sleeper == "asleep" else "the end")
    assert connection.is_usable()
