"""The command: what it prints, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError
from pytest_django import Settings
from qdrant_client import models

from accounts.models import User
from tests.factories import unit_vector
from tests.privacy.elsewhere import another_connection
from tests.qdrant import free_port, freeze, started_qdrant, thaw
from tests.support.waiting import wait_until
from tests.vectorstore import commands
from tests.vectorstore.commands import manage, started
from tests.vectorstore.sync.people import ids, people, plain_sql, points
from tests.vectorstore.sync.proxy import door
from vectorstore.management.commands import sync_qdrant
from vectorstore.models import QuarantinedUser, QueueEntry, SyncLease
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.queue import shutdown
from vectorstore.queue.entries import Backlog
from vectorstore.schema.initialize import initialize
from vectorstore.sync import worker

pytestmark = pytest.mark.django_db


def output(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    call_command("sync_qdrant", *arguments)
    written = capsys.readouterr()
    assert written.err == ""
    return written.out


def test_sync_qdrant__a_line_a_batch(collection: str, capsys: pytest.CaptureFixture[str]) -> None:
    gone = people(3)[0]
    assert output(capsys, "--once") == "3 written, 0 removed; 0 remaining.\n3 points written, 0 removed.\n"
    assert output(capsys) == "Nothing to do.\n"
    User.objects.filter(pk=gone).delete()
    whole = output(capsys, "--once", "--json", "--batch-size", "1")
    nothing = {"length": 0, "oldest_seconds": None, "leased": 0, "quarantined": 0}
    assert json.loads(whole) == {
        "written": 0,
        "removed": 1,
        "quarantined": 0,
        "remaining": nothing,
        "unavailable": None,
        "stopped": False,
        "unique_vectors": 0,
    }


def test_sync_qdrant__counts_the_queue_after_the_batch_of_the_line(
    embedded_collection: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    people(3)
    monkeypatch.setattr(sync_qdrant, "COUNT_PAUSE", 0)
    lines = output(capsys, "--once", "--batch-size", "1").splitlines()
    assert [re.sub(", the oldest.*", ".", line) for line in lines] == [
        "1 written, 0 removed; 2 remaining.",
        "1 written, 0 removed; 1 remaining.",
        "1 written, 0 removed; 0 remaining.",
        "3 points written, 0 removed.",
    ]


def test_sync_qdrant__a_long_count__is_left_out_of_lines(
    embedded_collection: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    people(3)
    monkeypatch.setattr(sync_qdrant, "COUNT_PAUSE", float("inf"))
    _, *lines = output(capsys, "--once", "--batch-size", "1").splitlines()
    assert lines == ["1 written, 0 removed.", "1 written, 0 removed.", "3 points written, 0 removed."]


def test_sync_qdrant__json__is_one_document_where_many_batches_are_done(
    embedded_collection: str, capsys: pytest.CaptureFixture[str]
) -> None:
    people(3)
    assert json.loads(output(capsys, "--once", "--batch-size", "1", "--json"))["written"] == 3


def test_sync_qdrant__says_what_is_left_and_how_old_it_is(embedded_collection: str, capsys: pytest.CaptureFixture[str]) -> None:
    people(3)
    plain_sql("UPDATE vector_sync_queue SET queued_at = clock_timestamp() - interval '1 day'")
    first, *_rest = output(capsys, "--batch-size", "2").splitlines()
    assert first.startswith("2 written, 0 removed; 1 remaining, the oldest 864")
    assert first.endswith(" s old.")


def test_sync_qdrant__1_where_something_is_left(embedded_collection: str, capsys: pytest.CaptureFixture[str]) -> None:
    QueueEntry.objects.create(user_id=people(1)[0], urgent=True, not_before="2100-01-01T00:00Z")
    with pytest.raises(SystemExit) as raised:
        call_command("sync_qdrant", "--once", "--timeout", "0.1")
    assert raised.value.code == 1
    assert re.fullmatch(r"1 point written, 0 removed; 1 remaining, the oldest \d+ s old\.", capsys.readouterr().out.splitlines()[-1])


def test_sync_qdrant__1_where_somebody_is_quarantined(
    dates_unchecked: None, embedded_collection: str, capsys: pytest.CaptureFixture[str]
) -> None:
    odd, _fine = people(2)
    plain_sql("UPDATE users SET created_at = 'infinity' WHERE id = %s", odd)
    with pytest.raises(SystemExit) as raised:
        call_command("sync_qdrant", "--once")
    assert raised.value.code == 1
    batch, whole = capsys.readouterr().out.splitlines()
    assert batch == "1 written, 0 removed, 1 quarantined; 0 remaining."
    assert whole == "1 point written, 0 removed; 1 user is quarantined: see the admin, or change them."
    assert QuarantinedUser.objects.count() == 1


def test_sync_qdrant__2_where_a_store_was_unavailable_to_the_end(
    collection: str, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    people(2)
    port = free_port()
    settings.QDRANT_URL = f"http://127.0.0.1:{port}"
    with pytest.raises(CommandError) as raised:
        call_command("sync_qdrant", "--once", "--timeout", "0.5")
    away = f"Nothing answers at QDRANT_URL 'http://127.0.0.1:{port}' ([Errno 111] Connection refused): start Qdrant, or correct QDRANT_URL."
    assert raised.value.returncode == 2
    assert str(raised.value) == f"{away} 2 changes remain on the queue."
    written = capsys.readouterr()
    assert written.err == f"{away} Trying again.\n"
    assert written.out.startswith("Nothing done; 2 remaining, the oldest ")


def test_sync_qdrant__2_where_the_collection_was_never_made(store: str) -> None:
    with pytest.raises(CommandError) as raised:
        call_command("sync_qdrant", "--once")
    assert str(raised.value) == f"Qdrant has no collection {collection_name()!r}: make it with manage.py init_qdrant."
    assert raised.value.returncode == 2


def test_sync_qdrant__2_for_a_wrong_setting(settings: Settings) -> None:
    settings.SYNC_LEASE_SECONDS = 3.0
    with pytest.raises(CommandError) as raised:
        call_command("sync_qdrant", "--once")
    assert (
        str(raised.value)
        == "SYNC_LEASE_SECONDS is 3.0. Set it to a number of seconds greater than QDRANT_TIMEOUT (10) and at most 86400 (one day)."
    )
    assert raised.value.returncode == 2


def test_sync_qdrant__never_touches_a_real_collection_of_that_name(store: str) -> None:
    """The guide's own program makes one; whose points those are is not known."""
    with qdrant() as client:
        client.create_collection(collection_name(), vectors_config=models.VectorParams(size=512, distance=models.Distance.COSINE))
        client.upsert(collection_name(), [models.PointStruct(id=1, vector=unit_vector(1))])
    people(1)
    with pytest.raises(CommandError) as raised:
        call_command("sync_qdrant", "--once", "--timeout", "0.1")
    assert raised.value.returncode == 2
    assert points() == {1}


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--once", "--watch"], "Error: argument --watch: not allowed with argument --once"),
        (["--batch-size", "0"], "Error: argument --batch-size: '0' is not a number from 1 to 1000"),
        (["--batch-size", "1001"], "Error: argument --batch-size: '1001' is not a number from 1 to 1000"),
        (["--batch-size", "many"], "Error: argument --batch-size: 'many' is not a number from 1 to 1000"),
        (["--timeout", "-1"], "Error: argument --timeout: '-1' is not a number of seconds from 0 to 86400"),
        (["--timeout", "nan"], "Error: argument --timeout: 'nan' is not a number of seconds from 0 to 86400"),
        (["--timeout", "soon"], "Error: argument --timeout: 'soon' is not a number of seconds from 0 to 86400"),
    ],
)
def test_sync_qdrant__arguments_that_it_does_not_take(arguments: list[str], line: str) -> None:
    with pytest.raises(CommandError) as raised:
        call_command("sync_qdrant", *arguments)
    assert str(raised.value) == line


def stopped_by_a_signal(*_: object) -> None:
    """In the middle of what does not answer."""
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)


def test_sync_qdrant__stopped_by_a_signal_before_a_store_has_answered(
    embedded_collection: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_check_stores", stopped_by_a_signal)
    assert output(capsys, "--once") == "Nothing to do.\n"


def test_sync_qdrant__stopped_by_a_signal_while_it_takes_its_leave(
    embedded_collection: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutdown, "GRACE_SECONDS", 0.1)
    monkeypatch.setattr(worker, "release_all", stopped_by_a_signal)
    assert output(capsys, "--once") == "Nothing to do.\n"


def test_sync_qdrant__stopped_by_a_signal_where_postgresql_is_unavailable(
    embedded_collection: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> Backlog:
        raise OperationalError("the connection is lost")

    monkeypatch.setattr(worker, "backlog", away)
    with pytest.raises(CommandError, match="PostgreSQL: the connection is lost"):
        call_command("sync_qdrant", "--once")
    monkeypatch.setattr(worker, "_check_stores", stopped_by_a_signal)
    assert output(capsys, "--once") == ""


# --- In a process of its own -----------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_sync_qdrant__as_it_is_typed(embedded_collection: str) -> None:
    there = people(2)
    assert manage("sync_qdrant", "--once") == (0, "2 written, 0 removed; 0 remaining.\n2 points written, 0 removed.\n", "")
    assert points() == ids(there)


@pytest.mark.django_db(transaction=True)
def test_sync_qdrant__waits_for_postgresql_too(embedded_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    there = people(2)
    with door() as postgresql:
        elsewhere = commands.environment() | {"DATABASE_URL": postgresql.url()}
        monkeypatch.setattr(commands, "environment", lambda: elsewhere)
        with started("sync_qdrant", "--once") as process:
            try:
                assert process.stderr is not None
                assert process.stderr.readline().startswith("PostgreSQL: ")
                postgresql.open()
                stdout, stderr = process.communicate(timeout=60)
            finally:
                process.kill()
        assert (process.returncode, stdout.splitlines()[-1], stderr) == (0, "2 points written, 0 removed.", "")
    assert points() == ids(there)


@pytest.mark.qdrant_server
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("number", "code", "line"),
    [
        (signal.SIGTERM, 0, ""),
        (signal.SIGINT, 130, "sync_qdrant: interrupted. Run it again: it continues where it stopped.\n"),
    ],
)
def test_sync_qdrant__interrupted_it_releases_what_is_in_hand(
    memory_path: Path, settings: Settings, number: signal.Signals, code: int, line: str
) -> None:
    """Beside a frozen Qdrant: far sooner than a request's timeout, or a lease, has passed."""
    settings.QDRANT_TIMEOUT, settings.SYNC_LEASE_SECONDS = 120.0, 600.0
    with started_qdrant(memory_path) as server:
        settings.QDRANT_URL, settings.QDRANT_API_KEY, settings.QDRANT_GRPC_PORT = server.url, "", 0
        initialize()
        (person,) = people(1)
        with another_connection() as other, other.cursor() as cursor, started("sync_qdrant", "--once") as process:
            try:
                cursor.execute("BEGIN")
                cursor.execute("LOCK TABLE users")  # the worker claims, and does not come to reading the row
                wait_until(lambda: SyncLease.objects.count() == 1, "The person is leased")
                freeze(server)
                cursor.execute("ROLLBACK")
                process.send_signal(number)
                _stdout, stderr = process.communicate(timeout=30)
            finally:
                process.kill()
                thaw(server)
    assert (process.returncode, stderr) == (code, line)
    assert not SyncLease.objects.exists()
    assert QueueEntry.objects.filter(user_id=person, awaits_ack=False).exists()
