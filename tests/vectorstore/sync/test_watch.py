"""``sync_qdrant --watch`` in processes of their own: it ends when it is told to, and never because a store is unavailable."""

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
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.db import connection
from django.utils.timezone import now
from pytest_django import Settings

from tests.privacy.elsewhere import another_connection, in_a_thread
from tests.qdrant import QdrantServer, freeze, started_qdrant, thaw
from tests.support.waiting import wait_until
from tests.vectorstore.commands import ended, started
from tests.vectorstore.storm.server import Server
from tests.vectorstore.sync.people import ids, one, people, plain_sql, points, queued
from tests.vectorstore.sync.proxy import Door, door
from vectorstore.consistency.capture_check import CaptureCheck
from vectorstore.models import QueueEntry, SyncLease, SyncWorker
from vectorstore.queue.entries import enqueue
from vectorstore.queue.shutdown import ShutdownRequested
from vectorstore.schema.initialize import initialize
from vectorstore.sync import watch
from vectorstore.sync.worker import Worker, sync_once

pytestmark = pytest.mark.django_db(transaction=True)

FAREWELL = 30
"""Seconds: far below a request's timeout, and a lease, of these tests; the worker itself allows ten."""


@contextmanager
def watching(*options: str) -> Iterator[subprocess.Popen[str]]:
    process = started("sync_qdrant", "--watch", *options)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def sleeps() -> bool:
    """Whether a worker says that it sleeps."""
    return SyncWorker.objects.filter(sleeping_until__isnull=False).exists()


def end(process: subprocess.Popen[str], number: signal.Signals = signal.SIGTERM) -> tuple[int, str, str]:
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=FAREWELL)
    return process.returncode, stdout, stderr


@pytest.fixture
def patient(settings: Settings) -> None:
    settings.QDRANT_TIMEOUT, settings.SYNC_LEASE_SECONDS = 120.0, 600.0


@pytest.fixture(params=[False, True], ids=["rest", "grpc"])
def own_server(request: pytest.FixtureRequest, memory_path: Path, settings: Settings) -> Iterator[QdrantServer]:
    """One that may be frozen."""
    with started_qdrant(memory_path) as server:
        settings.QDRANT_URL, settings.QDRANT_GRPC_PORT = server.url, server.grpc_port if request.param else 0
        initialize()
        QueueEntry.objects.all().delete()
        yield server


# --- Ending ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_watch__ends_where_nothing_is_to_be_done(embedded_collection: str, number: signal.Signals) -> None:
    with watching() as process:
        wait_until(sleeps, "It sleeps")
        code, stdout, stderr = end(process, number)
    assert (code, stderr) == (0, "")
    assert re.fullmatch("Watching .*\n", stdout)
    assert not SyncWorker.objects.exists()


@pytest.mark.qdrant_server
@pytest.mark.usefixtures("patient")
def test_watch__finishes_the_batch_in_hand(own_server: QdrantServer) -> None:
    with watching() as process:
        wait_until(sleeps, "It sleeps")
        freeze(own_server)
        there = people(3)
        wait_until(lambda: SyncLease.objects.count() > 0, "They are leased")
        process.send_signal(signal.SIGTERM)
        thaw(own_server)
        code, stdout, stderr = ended(process)
    assert (code, stderr) == (0, "")
    assert " written, 0 removed; " in stdout
    assert not SyncLease.objects.exists()
    sync_once()
    assert points() == ids(there)


@pytest.mark.qdrant_server
@pytest.mark.at_length("grpc")
@pytest.mark.usefixtures("patient")
def test_watch__releases_what_a_frozen_qdrant_does_not_answer(own_server: QdrantServer) -> None:
    with watching() as process:
        wait_until(sleeps, "It sleeps")
        freeze(own_server)
        (person,) = people(1)
        wait_until(lambda: SyncLease.objects.count() == 1, "The person is leased")
        assert end(process)[0] == 0
        thaw(own_server)
    assert not SyncLease.objects.exists()
    assert QueueEntry.objects.filter(user_id=person, awaits_ack=True).count() == 1
    assert not SyncWorker.objects.exists()


@pytest.mark.qdrant_server
@pytest.mark.parametrize("in_hand", [False, True], ids=["idle", "in hand"])
def test_watch__ends_beside_a_frozen_postgresql(
    memory_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, in_hand: bool
) -> None:
    settings.QDRANT_TIMEOUT, settings.SYNC_LEASE_SECONDS = 120.0, 600.0
    with started_qdrant(memory_path) as server, door() as postgresql:
        settings.QDRANT_URL, settings.QDRANT_API_KEY, settings.QDRANT_GRPC_PORT = server.url, "", 0
        initialize()
        postgresql.open()
        with watching_through(postgresql, monkeypatch) as process:
            wait_until(sleeps, "It sleeps")
            if in_hand:
                freeze(server)
                people(1)
                wait_until(lambda: SyncLease.objects.count() == 1, "The person is leased")
            postgresql.frozen.set()
            assert end(process)[0] == 0
            thaw(server)
            postgresql.frozen.clear()
    assert SyncLease.objects.count() == int(in_hand)


@pytest.mark.qdrant_server
@pytest.mark.long
@pytest.mark.at_length("0.4")
@pytest.mark.parametrize("after", [0.0, 0.4])
def test_sync_once__ends_beside_a_frozen_postgresql(
    memory_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, after: float
) -> None:
    """Whatever it is asked at that moment: nothing else reports that it is unavailable."""
    with started_qdrant(memory_path) as server, door() as postgresql:
        settings.QDRANT_URL, settings.QDRANT_API_KEY, settings.QDRANT_GRPC_PORT = server.url, "", 0
        initialize()
        (person,) = people(1)
        SyncLease.objects.create(user_id=person, worker_id=uuid4(), expires_at=now() + timedelta(hours=1))  # whom it waits for
        postgresql.open()
        with working_through(postgresql, monkeypatch, "--once", "--timeout", "2") as process:
            wait_until(postgresql.connected.is_set, "It has connected")
            time.sleep(after)  # somewhere in what it does then
            postgresql.frozen.set()
            _printed, said = process.communicate(timeout=60)
            postgresql.frozen.clear()
    assert process.returncode == 2
    assert "PostgreSQL: " in said
    assert "Traceback" not in said


def watching_through(postgresql: Door, monkeypatch: pytest.MonkeyPatch) -> AbstractContextManager[subprocess.Popen[str]]:
    return working_through(postgresql, monkeypatch, "--watch")


@contextmanager
def working_through(postgresql: Door, monkeypatch: pytest.MonkeyPatch, *options: str) -> Iterator[subprocess.Popen[str]]:
    from tests.vectorstore import commands

    there = commands.environment() | {"DATABASE_URL": f"{postgresql.url()}?connect_timeout=2"}
    with monkeypatch.context() as patched:
        patched.setattr(commands, "environment", lambda: there)
        process = started("sync_qdrant", *options)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


# --- Going on --------------------------------------------------------------------------------------------------------------------


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    return process.stderr.readline()


@pytest.mark.qdrant_server
def test_watch__begins_while_qdrant_is_down_and_goes_on(memory_path: Path, settings: Settings) -> None:
    server = Server(memory_path)
    settings.QDRANT_URL, settings.QDRANT_API_KEY, settings.QDRANT_GRPC_PORT = server.address.url, "", 0
    server.start()
    try:
        initialize()
        server.kill()
        with watching() as process:
            there = people(2)
            line = first_line(process)
            assert line.startswith(f"Nothing answers at QDRANT_URL '{server.address.url}' (")
            assert line.endswith(": start Qdrant, or correct QDRANT_URL. Trying again.\n")
            server.start()
            wait_until(lambda: queued() == 0, "Everything is done")
            code, stdout, stderr = end(process)
        assert (code, stderr) == (0, "")
        assert "2 written, 0 removed; " in stdout
        assert points() == ids(there)
    finally:
        server.stop()


def test_watch__begins_while_postgresql_is_down_and_goes_on(embedded_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with door() as postgresql:
        there = people(2)
        with watching_through(postgresql, monkeypatch) as process:
            line = first_line(process)
            assert line.startswith("PostgreSQL: ")
            assert line.endswith(". Trying again.\n")
            postgresql.open()
            wait_until(lambda: queued() == 0, "Everything is done")
            assert end(process)[::2] == (0, "")
    assert points() == ids(there)


def test_watch__what_is_wrong_with_the_collection_may_be_mended_meanwhile(embedded_qdrant: Path) -> None:
    """It was never made: --once says so and ends, this one waits for it."""
    there = people(2)
    with watching() as process:
        assert first_line(process) == ("Qdrant has no collection 'profile_embeddings': make it with manage.py init_qdrant. Trying again.\n")
        initialize()
        wait_until(lambda: queued() == 0, "Everything is done")
        assert end(process)[::2] == (0, "")
    assert points() == ids(there)


def test_watch__a_wrong_setting_ends_it(embedded_qdrant: Path, settings: Settings) -> None:
    settings.SYNC_LEASE_SECONDS = 5.0
    assert ended(started("sync_qdrant", "--watch")) == (
        2,
        "",
        "SYNC_LEASE_SECONDS is 5.0. Set it to a number of seconds greater than QDRANT_TIMEOUT (10) and at most 86400 (one day).\n",
    )


def test_watch__checks_that_changes_are_captured(embedded_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[CaptureCheck] = []

    def run(check: CaptureCheck) -> None:
        made.append(check)
        if len(made) == 2:
            raise ShutdownRequested

    monkeypatch.setattr(CaptureCheck, "run", run)
    watch.watch()
    assert made[0] is made[1]


def test_watch__says_at_its_start_which_stores_it_watches(embedded_collection: str, settings: Settings) -> None:
    with watching() as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert end(process) == (0, "", "")
    database = connection.settings_dict
    assert line.startswith(f"Watching the queue in the PostgreSQL database '{database['NAME']}'")
    assert line.endswith(f", for 'profile_embeddings' in the embedded Qdrant in {settings.QDRANT_PATH}. Ctrl-C ends it.\n")
    assert not database["PASSWORD"] or database["PASSWORD"] not in line


def test_watch__says_it_as_json(embedded_collection: str, settings: Settings) -> None:
    with watching("--json") as process:
        assert process.stdout is not None
        (watched,) = json.loads(process.stdout.readline()).values()
        assert end(process) == (0, "", "")
    assert (watched["collection"], watched["qdrant"]) == ("profile_embeddings", f"the embedded Qdrant in {settings.QDRANT_PATH}")


# --- Sleeping --------------------------------------------------------------------------------------------------------------------


def test_sleep__a_new_entry_ends_it(registered: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long before it would look by itself."""
    monkeypatch.setattr(watch, "SLEEP_SECONDS", 50.0)
    with in_a_thread(lambda: watch._sleep(Worker())) as sleeping:
        wait_until(sleeps, "It sleeps")
        assert not sleeping.done()
        people(1)
        sleeping.result(25)


def test_sleep__does_not_begin_where_somebody_is_queued(registered: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Since it looked last, and before anybody knew that it sleeps."""
    monkeypatch.setattr(watch, "SLEEP_SECONDS", 50.0)
    enqueue([uuid4()])
    with in_a_thread(lambda: watch._sleep(Worker())) as sleeping:
        sleeping.result(25)


def test_show__a_worker_that_finds_no_time_to_sleep_is_on_the_list(registered: str, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker()
    watch._write_heartbeat(worker)
    plain_sql("UPDATE vector_sync_workers SET heartbeat_at = '2020-01-01'")
    watch._write_heartbeat(worker)
    assert one("SELECT heartbeat_at < '2021-01-01' FROM vector_sync_workers")
    monkeypatch.setattr(watch, "HEARTBEAT_SECONDS", 0.0)
    watch._write_heartbeat(worker)
    found = SyncWorker.objects.get()
    assert (found.id, found.pid, found.heartbeat_at.year > 2020) == (worker.id, os.getpid(), True)


def notified(session: Any) -> list[str]:
    return [notice.payload for notice in session.notifies(timeout=60, stop_after=1)]


@pytest.mark.parametrize("sleeper", [None, "awake", "asleep"])
def test_enqueue__notifies_only_where_somebody_sleeps(registered: str, sleeper: str | None) -> None:
    plain_sql("DELETE FROM vector_sync_workers")
    if sleeper:
        until = "clock_timestamp() + interval '1 hour'" if sleeper == "asleep" else "clock_timestamp() - interval '1 second'"
        plain_sql(f"INSERT INTO vector_sync_workers (id, host, pid, sleeping_until) VALUES (gen_random_uuid(), '', 1, {until})")
    with another_connection() as other:
        other.ensure_connection()
        session = other.connection
        assert isinstance(session, psycopg.Connection)
        session.execute("LISTEN vector_sync")
        enqueue([uuid4()])
        one("SELECT pg_notify('vector_sync', 'the end')::text")
        assert notified(session)[0] == ("" if sleeper == "asleep" else "the end")
    assert connection.is_usable()
