"""The command ``sync_qdrant``: its output and its exit codes."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from functools import partial
from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError
from pytest_django import Settings
from qdrant_client import models

from accounts.models import User
from tests.factories import unit_vector
from tests.qdrant import free_port, freeze, started_qdrant, thaw
from tests.schema.rows import ask
from tests.support import commands
from tests.support.commands import manage, started, stdout_of
from tests.support.sessions import another_connection
from tests.support.users import create_users
from tests.support.waiting import wait_until
from tests.vectorstore.sync.points import ids, points
from tests.vectorstore.sync.proxy import postgres_proxy
from vectorstore.management.commands import sync_qdrant
from vectorstore.models import QuarantinedUser, QueueEntry, SyncLease
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.queue.entries import Backlog
from vectorstore.schema.initialize import initialize
from vectorstore.sync import worker

pytestmark = pytest.mark.django_db

output = partial(stdout_of, "sync_qdrant")


def test_sync_qdrant__prints_a_line_per_batch(collection: str, capsys: pytest.CaptureFixture[str]) -> None:
    gone = create_users(3)[0]
    assert output(capsys, "--once") == "3 written, 0 removed; 0 remaining.\n3 points written, 0 removed.\n"
    assert output(capsys) == "Nothing to do.\n"
    User.objects.filter(pk=gone).delete()
    totals = output(capsys, "--once", "--json", "--batch-size", "1")
    empty_queue = {"length": 0, "oldest_seconds": None, "leased": 0, "quarantined": 0}
    assert json.loads(totals) == {
        "written": 0,
        "removed": 1,
        "quarantined": 0,
        "remaining": empty_queue,
        "unavailable": None,
        "stopped": False,
        "unique_vectors": 0,
    }


def test_sync_qdrant__counts_the_queue_after_each_batch(
    embedded_collection: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    create_users(3)
    monkeypatch.setattr(sync_qdrant, "COUNT_PAUSE", 0)
    lines = output(capsys, "--once", "--batch-size", "1").splitlines()
    assert [re.sub(", the oldest.*", ".", line) for line in lines] == [
        "1 written, 0 removed; 2 remaining.",
        "1 written, 0 removed; 1 remaining.",
        "1 written, 0 removed; 0 remaining.",
        "3 points written, 0 removed.",
    ]


def test_sync_qdrant__slow_count__is_omitted_from_the_lines(
    embedded_collection: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    create_users(3)
    monkeypatch.setattr(sync_qdrant, "COUNT_PAUSE", float("inf"))
    _, *lines = output(capsys, "--once", "--batch-size", "1").splitlines()
    assert lines == ["1 written, 0 removed.", "1 written, 0 removed.", "3 points written, 0 removed."]


def test_sync_qdrant__json_with_many_batches__is_one_document(embedded_collection: str, capsys: pytest.CaptureFixture[str]) -> None:
    create_users(3)
    assert json.loads(output(capsys, "--once", "--batch-size", "1", "--json"))["written"] == 3


def test_sync_qdrant__prints_the_length_and_age_of_the_queue(embedded_collection: str, capsys: pytest.CaptureFixture[str]) -> None:
    create_users(3)
    ask("UPDATE vector_sync_queue SET queued_at = clock_timestamp() - interval '1 day'")
    first, *_rest = output(capsys, "--batch-size", "2").splitlines()
    assert first.startswith("2 written, 0 removed; 1 remaining, the oldest 864")
    assert first.endswith(" s old.")


def test_sync_qdrant__queue_is_not_empty__exits_1(embedded_collection: str, capsys: pytest.CaptureFixture[str]) -> None:
    QueueEntry.objects.create(user_id=create_users(1)[0], urgent=True, not_before="2100-01-01T00:00Z")
    with pytest.raises(SystemExit) as raised:
        call_command("sync_qdrant", "--once", "--timeout", "0.1")
    assert raised.value.code == 1
    assert re.fullmatch(r"1 point written, 0 removed; 1 remaining, the oldest \d+ s old\.", capsys.readouterr().out.splitlines()[-1])


def test_sync_qdrant__quarantined_user__exits_1(
    dates_unchecked: None, embedded_collection: str, capsys: pytest.CaptureFixture[str]
) -> None:
    unreadable, _valid = create_users(2)
    ask("UPDATE users SET created_at = 'infinity' WHERE id = %s", unreadable)
    with pytest.raises(SystemExit) as raised:
        call_command("sync_qdrant", "--once")
    assert raised.value.code == 1
    batch, totals = capsys.readouterr().out.splitlines()
    assert batch == "1 written, 0 removed, 1 quarantined; 0 remaining."
    assert totals == "1 point written, 0 removed; 1 user is quarantined: see the admin, or change them."
    assert QuarantinedUser.objects.count() == 1


def test_sync_qdrant__store_stays_unavailable__exits_2(collection: str, settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    create_users(2)
    port = free_port()
    settings.QDRANT_URL = f"http://127.0.0.1:{port}"
    with pytest.raises(CommandError) as raised:
        call_command("sync_qdrant", "--once", "--timeout", "0.5")
    message = (
        f"Nothing answers at QDRANT_URL 'http://127.0.0.1:{port}' ([Errno 111] Connection refused): start Qdrant, or correct QDRANT_URL."
    )
    assert raised.value.returncode == 2
    assert str(raised.value) == f"{message} 2 changes remain on the queue."
    written = capsys.readouterr()
    assert written.err == f"{message} Trying again.\n"
    assert written.out.startswith("Nothing done; 2 remaining, the oldest ")


def test_sync_qdrant__without_a_collection__exits_2(store: str) -> None:
    with pytest.raises(CommandError) as raised:
        call_command("sync_qdrant", "--once")
    assert str(raised.value) == f"Qdrant has no collection {collection_name()!r}: make it with manage.py init_qdrant."
    assert raised.value.returncode == 2


def test_sync_qdrant__wrong_setting__exits_2(settings: Settings) -> None:
    settings.SYNC_LEASE_SECONDS = 3.0
    with pytest.raises(CommandError) as raised:
        call_command("sync_qdrant", "--once")
    assert (
        str(raised.value)
        == "SYNC_LEASE_SECONDS is 3.0. Set it to a number of seconds greater than QDRANT_TIMEOUT (10) and at most 86400 (one day)."
    )
    assert raised.value.returncode == 2


def test_sync_qdrant__real_collection_under_the_alias_name__is_not_changed(store: str) -> None:
    """The guide's program creates such a collection. The owner of its points is unknown."""
    with qdrant() as client:
        client.create_collection(collection_name(), vectors_config=models.VectorParams(size=512, distance=models.Distance.COSINE))
        client.upsert(collection_name(), [models.PointStruct(id=1, vector=unit_vector(1))])
    create_users(1)
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
def test_sync_qdrant__invalid_arguments__fail(arguments: list[str], line: str) -> None:
    with pytest.raises(CommandError) as raised:
        call_command("sync_qdrant", *arguments)
    assert str(raised.value) == line


def stop_by_signal(*_: object) -> None:
    """Send SIGTERM in a call that takes a moment."""
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(1)


def test_sync_qdrant__signal_before_a_store_answers__ends(
    embedded_collection: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_check_stores", stop_by_signal)
    assert output(capsys, "--once") == "Nothing to do.\n"


def test_sync_qdrant__signal_before_a_store_answers__deletes_no_unique_vectors(
    embedded_collection: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_check_stores", stop_by_signal)
    monkeypatch.setattr(worker, "enqueue_discards", pytest.fail)
    assert output(capsys, "--once", "--discard-vectors", "3") == "Nothing to do.\n"


def test_sync_qdrant__signal_while_postgresql_is_unavailable__ends(
    embedded_collection: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose_connection() -> Backlog:
        raise OperationalError("the connection is lost")

    monkeypatch.setattr(worker, "backlog", lose_connection)
    with pytest.raises(CommandError, match="PostgreSQL: the connection is lost"):
        call_command("sync_qdrant", "--once")
    monkeypatch.setattr(worker, "_check_stores", stop_by_signal)
    assert output(capsys, "--once") == ""


# --- In its own process ----------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_sync_qdrant__own_process__syncs(embedded_collection: str) -> None:
    user_ids = create_users(2)
    assert manage("sync_qdrant", "--once") == (0, "2 written, 0 removed; 0 remaining.\n2 points written, 0 removed.\n", "")
    assert points() == ids(user_ids)


@pytest.mark.at_length
@pytest.mark.django_db(transaction=True)
def test_sync_qdrant__postgresql_is_down__waits(embedded_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    user_ids = create_users(2)
    with postgres_proxy() as postgresql:
        proxied = commands.environment() | {"DATABASE_URL": postgresql.url()}
        monkeypatch.setattr(commands, "environment", lambda: proxied)
        with started("sync_qdrant", "--once") as process:
            try:
                assert process.stderr is not None
                assert process.stderr.readline().startswith("PostgreSQL: ")
                postgresql.open()
                stdout, stderr = process.communicate(timeout=60)
            finally:
                process.kill()
        assert (process.returncode, stdout.splitlines()[-1], stderr) == (0, "2 points written, 0 removed.", "")
    assert points() == ids(user_ids)


@pytest.mark.qdrant_server
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("number", "code", "line"),
    [
        (signal.SIGTERM, 0, ""),
        (signal.SIGINT, 130, "sync_qdrant: interrupted. Run it again: it continues where it stopped.\n"),
    ],
)
def test_sync_qdrant__interrupted__releases_its_leases(
    memory_path: Path, settings: Settings, number: signal.Signals, code: int, line: str
) -> None:
    """With a frozen Qdrant it ends long before a request times out or a lease expires."""
    settings.QDRANT_TIMEOUT, settings.SYNC_LEASE_SECONDS = 120.0, 600.0
    with started_qdrant(memory_path) as server:
        settings.QDRANT_URL, settings.QDRANT_API_KEY, settings.QDRANT_GRPC_PORT = server.url, "", 0
        initialize()
        (user_id,) = create_users(1)
        with another_connection() as other, other.cursor() as cursor, started("sync_qdrant", "--once") as process:
            try:
                cursor.execute("BEGIN")
                cursor.execute("LOCK TABLE users")  # the worker claims, but cannot read the row
                wait_until(lambda: SyncLease.objects.count() == 1, "The user is leased")
                freeze(server)
                cursor.execute("ROLLBACK")
                process.send_signal(number)
                _stdout, stderr = process.communicate(timeout=30)
            finally:
                process.kill()
                thaw(server)
    assert (process.returncode, stderr) == (code, line)
    assert not SyncLease.objects.exists()
    assert QueueEntry.objects.filter(user_id=user_id, awaits_ack=False).exists()
