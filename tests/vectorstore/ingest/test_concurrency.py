"""Loading beside others: erasures, other loads, deadlocks, and a SIGKILL in the middle."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.db import OperationalError, connection
from psycopg.conninfo import make_conninfo

from findme.environment import BASE_DIR
from tests.factories import ProfileEmbeddingFactory, UserFactory
from tests.support.commands import environment
from tests.support.database import database_parameters
from tests.support.waiting import wait_until
from tests.vectorstore.ingest.inputs import json_lines, ones, row
from vectorstore.ingest import load, staging
from vectorstore.ingest.load import Loaded, LoadInterrupted, upsert_embeddings
from vectorstore.models import ProfileEmbedding
from vectorstore.sync.results import BatchResult

pytestmark = pytest.mark.django_db(transaction=True)

DEADLINE = 60.0


@pytest.fixture(autouse=True)
def no_vector_store(monkeypatch: pytest.MonkeyPatch) -> None:
    def sync_users(user_ids: Iterable[UUID]) -> BatchResult:
        return BatchResult(written=len(list(user_ids)))

    monkeypatch.setattr(load, "sync_users", sync_users)


@pytest.fixture
def other() -> Iterator[psycopg.Connection[Any]]:
    """Somebody else's session."""
    with psycopg.connect(make_conninfo(**database_parameters())) as session:
        yield session


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def somebody_waits() -> bool:
    """Whether a session of the test's database waits for a lock."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
        return bool(cursor.fetchone()[0])


def loading(file: str, **options: Any) -> Loaded:
    """In a thread, with a connection of its own."""
    try:
        return upsert_embeddings([file], **options)
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        ("UPDATE users SET deleted_at = now() WHERE id = %s", {"deleted user": 1}),
        ("DELETE FROM users WHERE id = %s", {"unknown user": 1}),
        ("UPDATE users SET bio = 'Hello' WHERE id = %s", {}),
    ],
)
def test_load__person_erased_meanwhile(
    tmp_path: Path, other: psycopg.Connection[Any], threads: ThreadPoolExecutor, change: str, reasons: dict[str, int]
) -> None:
    """The load waits for the erasure, and then sees what became of the person."""
    leaving, staying = UserFactory.create(), UserFactory.create()
    path = json_lines(tmp_path / "x.jsonl", [row(leaving.pk, vector=ones()), row(staying.pk, vector=ones())])
    other.execute(change, [leaving.pk])
    loaded: Future[Loaded] = threads.submit(loading, path)
    wait_until(somebody_waits)
    other.commit()
    assert loaded.result(DEADLINE).reasons == reasons
    assert ProfileEmbedding.objects.filter(pk=staying.pk).exists()
    assert ProfileEmbedding.objects.filter(pk=leaving.pk).exists() is not bool(reasons)


def test_load__embedding_deleted_meanwhile(tmp_path: Path, other: psycopg.Connection[Any], threads: ThreadPoolExecutor) -> None:
    embedding = ProfileEmbeddingFactory.create()
    path = json_lines(tmp_path / "x.jsonl", [row(embedding.pk, interests=["sea"])])
    other.execute("DELETE FROM profile_embeddings WHERE user_id = %s", [embedding.pk])
    loaded: Future[Loaded] = threads.submit(loading, path)
    wait_until(somebody_waits)
    other.commit()
    assert loaded.result(DEADLINE).reasons == {"no vector": 1}


def test_load__erasure_waits_for_the_batch_only(tmp_path: Path, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the batch is committed nothing holds the person any more, though the load goes on with the vector store."""
    user = UserFactory.create()
    erased = threading.Event()

    def sync_users(user_ids: Iterable[UUID]) -> BatchResult:
        with psycopg.connect(make_conninfo(**database_parameters(), options="-c lock_timeout=10s")) as session:
            session.execute("DELETE FROM users WHERE id = %s", [user.pk])
        erased.set()
        return BatchResult(removed=1)

    monkeypatch.setattr(load, "sync_users", sync_users)
    path = json_lines(tmp_path / "x.jsonl", [row(user.pk, vector=ones())])
    assert threads.submit(loading, path).result(DEADLINE).loaded == 1
    assert erased.is_set() and not ProfileEmbedding.objects.exists()


def test_load__two_at_once_lose_nothing_of_each_other(tmp_path: Path, threads: ThreadPoolExecutor) -> None:
    """Each brings a field that the other leaves as it is."""
    for _ in range(3):
        users = UserFactory.create_batch(10)
        fields: tuple[dict[str, Any], ...] = ({"interests": ["sea"]}, {"video_features": [0.5]}, {"location": {"lat": 1, "lon": 2}}, {})
        files = [
            json_lines(
                tmp_path / f"{number}.jsonl", [row(user.pk, vector=ones(number + 1), **extra) for user in users[:: 1 - number % 2 * 2]]
            )
            for number, extra in enumerate(fields)
        ]
        for result in [threads.submit(loading, file) for file in files]:
            assert result.result(DEADLINE).loaded == 10
        for embedding in ProfileEmbedding.objects.filter(pk__in=[user.pk for user in users]):
            assert (embedding.interests, embedding.video_features, embedding.location) == (["sea"], [0.5], {"lat": 1, "lon": 2})


def test_load__batch_that_a_deadlock_ends_is_tried_again(
    tmp_path: Path, other: psycopg.Connection[Any], threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL ends whichever of the two looks first: until it is the load."""
    embedding = ProfileEmbeddingFactory.create()
    path = json_lines(tmp_path / "x.jsonl", [row(embedding.pk, vector=ones(7))])
    attempts: list[int] = []
    attempt = staging._store

    def counted(*arguments: Any) -> staging.Stored:
        attempts.append(1)
        return attempt(*arguments)

    monkeypatch.setattr(staging, "_store", counted)
    deadline = time.monotonic() + DEADLINE
    while len(attempts) < 2:
        assert time.monotonic() < deadline
        attempts.clear()
        other.execute("UPDATE profile_embeddings SET model = 'theirs' WHERE user_id = %s", [embedding.pk])
        loaded = threads.submit(loading, path)
        wait_until(somebody_waits)
        try:
            other.execute("UPDATE users SET bio = 'theirs' WHERE id = %s", [embedding.pk])
            other.commit()
        except psycopg.errors.DeadlockDetected:
            other.rollback()
        assert loaded.result(DEADLINE).loaded == 1
    assert ProfileEmbedding.objects.get().vector == ones(7)


@pytest.mark.parametrize("disturbances", [1, 5])
def test_load__batch_that_others_disturb(
    tmp_path: Path, other: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch, disturbances: int
) -> None:
    """Rows that were not there when the batch began, and are when it is written: tried five times, then told."""
    users = UserFactory.create_batch(5)
    path = json_lines(tmp_path / "x.jsonl", [row(user.pk, interests=["sea"], vector=ones(7)) for user in users])
    insert, theirs = staging._insert, iter(users[:disturbances])

    def disturbed(*arguments: Any) -> None:
        for user in islice(theirs, 1):
            other.execute("INSERT INTO profile_embeddings (user_id, vector, video_features) VALUES (%s, %s, '{0.5}')", [user.pk, ones()])
            other.commit()
        insert(*arguments)

    monkeypatch.setattr(staging, "_insert", disturbed)
    if disturbances == 5:
        with pytest.raises(
            LoadInterrupted, match=r"^PostgreSQL: a batch conflicted 5 times with other sessions .*\. Loaded before that: 0 rows\."
        ):
            upsert_embeddings([path])
    else:
        assert upsert_embeddings([path]).new == 4
        theirs_and_ours = ProfileEmbedding.objects.get(pk=users[0].pk)
        assert (theirs_and_ours.vector, theirs_and_ours.interests, theirs_and_ours.video_features) == (ones(7), ["sea"], [0.5])


def test_load__other_errors_of_postgresql_are_not_tried_again(
    tmp_path: Path, other: psycopg.Connection[Any], threads: ThreadPoolExecutor
) -> None:
    user = UserFactory.create()
    path = json_lines(tmp_path / "x.jsonl", [row(user.pk, vector=ones())])
    other.execute("UPDATE users SET bio = 'x' WHERE id = %s", [user.pk])
    loaded = threads.submit(loading, path)
    wait_until(somebody_waits)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
    with pytest.raises(LoadInterrupted, match=r"^PostgreSQL: terminating connection .* Loaded before that: 0 rows\."):
        loaded.result(DEADLINE)
    other.rollback()
    assert not ProfileEmbedding.objects.exists()


SLOW_CHILD = """
import sys
import django
django.setup()
from vectorstore.ingest import load

load.ROWS_IN_A_BATCH = 2
load.sync_users = lambda user_ids: BatchResult()
load.upsert_embeddings(["-"])
"""


def test_load__killed_in_the_middle_and_run_again(tmp_path: Path) -> None:
    """The first batch is committed, the second is not whole: after SIGKILL and a second run all is as after one."""
    users = UserFactory.create_batch(5)
    rows = [row(user.pk, vector=ones(number + 1), interests=["sea"]) for number, user in enumerate(users)]
    child = subprocess.Popen([sys.executable, "-c", SLOW_CHILD], cwd=BASE_DIR, env=environment(), stdin=subprocess.PIPE, text=True)
    try:
        assert child.stdin is not None
        child.stdin.writelines(f"{json.dumps(content)}\n" for content in rows[:3])
        child.stdin.flush()
        wait_until(lambda: ProfileEmbedding.objects.count() == 2)
    finally:
        child.kill()
        child.communicate()
    assert child.returncode == -9
    assert ProfileEmbedding.objects.count() == 2
    loaded = upsert_embeddings([json_lines(tmp_path / "x.jsonl", rows)])
    assert (loaded.loaded, loaded.new, loaded.rejected) == (5, 3, 0)
    assert [ProfileEmbedding.objects.get(pk=user.pk).vector[0] for user in users] == [1, 2, 3, 4, 5]


def test_load__operational_error_is_reported_with_what_was_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*arguments: Any, **options: Any) -> staging.Stored:
        raise OperationalError("server closed the connection unexpectedly\n\tThis probably means\n")

    monkeypatch.setattr(load, "store", gone)
    with pytest.raises(LoadInterrupted) as raised:
        upsert_embeddings([json_lines(tmp_path / "x.jsonl", [row(UUID(int=1))])])
    assert str(raised.value) == (
        "PostgreSQL: server closed the connection unexpectedly This probably means."
        " Loaded before that: 0 rows. Repair this, then run the command again: rows may be loaded twice."
    )
