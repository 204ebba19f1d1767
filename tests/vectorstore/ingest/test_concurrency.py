"""Loading while other sessions write: erasures, other loads, deadlocks, and SIGKILL."""

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
def other_session() -> Iterator[psycopg.Connection[Any]]:
    """Open a session of another client."""
    with psycopg.connect(make_conninfo(**database_parameters())) as session:
        yield session


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def session_waits_for_lock() -> bool:
    """Return whether a session of the test database waits for a lock."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
        return bool(cursor.fetchone()[0])


def load_in_thread(file: str, **options: Any) -> Loaded:
    """Load ``file`` in a thread, and close its connection."""
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
def test_load__user_changed_meanwhile__waits_and_follows_the_change(
    tmp_path: Path, other_session: psycopg.Connection[Any], threads: ThreadPoolExecutor, change: str, reasons: dict[str, int]
) -> None:
    """The load waits for the other transaction, and then reads the user again."""
    changed, other_user = UserFactory.create(), UserFactory.create()
    path = json_lines(tmp_path / "x.jsonl", [row(changed.pk, vector=ones()), row(other_user.pk, vector=ones())])
    other_session.execute(change, [changed.pk])
    loaded: Future[Loaded] = threads.submit(load_in_thread, path)
    wait_until(session_waits_for_lock)
    other_session.commit()
    assert loaded.result(DEADLINE).reasons == reasons
    assert ProfileEmbedding.objects.filter(pk=other_user.pk).exists()
    assert ProfileEmbedding.objects.filter(pk=changed.pk).exists() is not bool(reasons)


def test_load__user_is_locked__other_users_are_free_meanwhile(
    tmp_path: Path, other_session: psycopg.Connection[Any], threads: ThreadPoolExecutor
) -> None:
    """A service that waits for a user of the batch is neither blocked by a forgotten transaction of another service, nor ended by a deadlock."""
    users = sorted(UserFactory.create_batch(2), key=lambda user: user.pk)
    path = json_lines(tmp_path / "x.jsonl", [row(user.pk, vector=ones()) for user in users])
    other_session.execute("UPDATE users SET bio = 'forgotten' WHERE id = %s", [users[1].pk])
    loaded = threads.submit(load_in_thread, path)
    wait_until(session_waits_for_lock)
    with psycopg.connect(make_conninfo(**database_parameters(), options="-c lock_timeout=60s")) as service:
        service.execute("UPDATE users SET bio = 'changed' WHERE id = %s", [users[0].pk])
    other_session.execute("UPDATE users SET bio = 'changed too' WHERE id = %s", [users[0].pk])
    other_session.commit()
    assert loaded.result(DEADLINE).loaded == 2


def test_load__user_stays_locked__ends_with_one_line(
    tmp_path: Path, other_session: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "LOCK_SECONDS", 0.2)
    user = UserFactory.create()
    other_session.execute("UPDATE users SET bio = 'forgotten' WHERE id = %s", [user.pk])
    with pytest.raises(
        LoadInterrupted,
        match=r"^Other sessions have locked users or embeddings for 0 s \(the oldest open transaction: process \d+, .*\)\. End their transactions\.",
    ):
        upsert_embeddings([json_lines(tmp_path / "x.jsonl", [row(user.pk, vector=ones())])])


def test_load__embedding_deleted_meanwhile__row_without_a_vector_is_rejected(
    tmp_path: Path, other_session: psycopg.Connection[Any], threads: ThreadPoolExecutor
) -> None:
    embedding = ProfileEmbeddingFactory.create()
    path = json_lines(tmp_path / "x.jsonl", [row(embedding.pk, interests=["sea"])])
    other_session.execute("DELETE FROM profile_embeddings WHERE user_id = %s", [embedding.pk])
    loaded: Future[Loaded] = threads.submit(load_in_thread, path)
    wait_until(session_waits_for_lock)
    other_session.commit()
    assert loaded.result(DEADLINE).reasons == {"no vector": 1}


def test_load__batch_is_committed__no_longer_blocks_an_erasure(
    tmp_path: Path, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the commit the load holds no lock on the user, although it still writes to the vector store."""
    user = UserFactory.create()
    erased = threading.Event()

    def sync_users(user_ids: Iterable[UUID]) -> BatchResult:
        with psycopg.connect(make_conninfo(**database_parameters(), options="-c lock_timeout=60s")) as session:
            session.execute("DELETE FROM users WHERE id = %s", [user.pk])
        erased.set()
        return BatchResult(removed=1)

    monkeypatch.setattr(load, "sync_users", sync_users)
    path = json_lines(tmp_path / "x.jsonl", [row(user.pk, vector=ones())])
    assert threads.submit(load_in_thread, path).result(DEADLINE).loaded == 1
    assert erased.is_set() and not ProfileEmbedding.objects.exists()


def test_load__concurrent_loads_of_different_fields__keep_all_fields(tmp_path: Path, threads: ThreadPoolExecutor) -> None:
    """Each file has a field that the others lack."""
    for _ in range(3):
        users = UserFactory.create_batch(10)
        fields: tuple[dict[str, Any], ...] = ({"interests": ["sea"]}, {"video_features": [0.5]}, {"location": {"lat": 1, "lon": 2}}, {})
        files = [
            json_lines(
                tmp_path / f"{number}.jsonl", [row(user.pk, vector=ones(number + 1), **extra) for user in users[:: 1 - number % 2 * 2]]
            )
            for number, extra in enumerate(fields)
        ]
        for result in [threads.submit(load_in_thread, file) for file in files]:
            assert result.result(DEADLINE).loaded == 10
        for embedding in ProfileEmbedding.objects.filter(pk__in=[user.pk for user in users]):
            assert (embedding.interests, embedding.video_features, embedding.location) == (["sea"], [0.5], {"lat": 1, "lon": 2})


def test_load__deadlock__tries_the_batch_again(
    tmp_path: Path, other_session: psycopg.Connection[Any], threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL ends one of the two sessions. Repeat until it ends the load."""
    embedding = ProfileEmbeddingFactory.create()
    path = json_lines(tmp_path / "x.jsonl", [row(embedding.pk, vector=ones(7))])
    attempts: list[int] = []
    original = staging._store

    def store_and_count(*arguments: Any) -> staging.Stored:
        attempts.append(1)
        return original(*arguments)

    monkeypatch.setattr(staging, "_store", store_and_count)
    deadline = time.monotonic() + DEADLINE
    while len(attempts) < 2:
        assert time.monotonic() < deadline
        attempts.clear()
        other_session.execute("UPDATE profile_embeddings SET model = 'theirs' WHERE user_id = %s", [embedding.pk])
        loaded = threads.submit(load_in_thread, path)
        wait_until(session_waits_for_lock)
        try:
            other_session.execute("UPDATE users SET bio = 'theirs' WHERE id = %s", [embedding.pk])
            other_session.commit()
        except psycopg.errors.DeadlockDetected:
            other_session.rollback()
        assert loaded.result(DEADLINE).loaded == 1
    assert ProfileEmbedding.objects.get().vector == ones(7)


@pytest.mark.parametrize("conflicts", [1, 5])
def test_load__conflicting_inserts__tries_the_batch_five_times(
    tmp_path: Path, other_session: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch, conflicts: int
) -> None:
    """Another session inserts rows after the batch has begun and before it is written."""
    users = UserFactory.create_batch(5)
    path = json_lines(tmp_path / "x.jsonl", [row(user.pk, interests=["sea"], vector=ones(7)) for user in users])
    insert, conflicting_users = staging.insert, iter(users[:conflicts])

    def insert_after_conflict(*arguments: Any) -> None:
        for user in islice(conflicting_users, 1):
            other_session.execute(
                "INSERT INTO profile_embeddings (user_id, vector, video_features) VALUES (%s, %s, '{0.5}')", [user.pk, ones()]
            )
            other_session.commit()
        insert(*arguments)

    monkeypatch.setattr(staging, "insert", insert_after_conflict)
    if conflicts == 5:
        with pytest.raises(
            LoadInterrupted, match=r"^PostgreSQL: a batch conflicted 5 times with other sessions .*\. Loaded before that: 0 rows\."
        ):
            upsert_embeddings([path])
    else:
        assert upsert_embeddings([path]).new == 4
        merged = ProfileEmbedding.objects.get(pk=users[0].pk)
        assert (merged.vector, merged.interests, merged.video_features) == (ones(7), ["sea"], [0.5])


def test_load__other_error_of_postgresql__is_not_tried_again(
    tmp_path: Path, other_session: psycopg.Connection[Any], threads: ThreadPoolExecutor
) -> None:
    user = UserFactory.create()
    path = json_lines(tmp_path / "x.jsonl", [row(user.pk, vector=ones())])
    other_session.execute("UPDATE users SET bio = 'x' WHERE id = %s", [user.pk])
    loaded = threads.submit(load_in_thread, path)
    wait_until(session_waits_for_lock)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
    with pytest.raises(LoadInterrupted, match=r"^PostgreSQL: terminating connection .* Loaded before that: 0 rows\."):
        loaded.result(DEADLINE)
    other_session.rollback()
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


def test_load__killed_and_run_again__loads_every_row(tmp_path: Path) -> None:
    """SIGKILL comes after the first batch is committed and before the second is complete."""
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


def test_load__connection_lost__reports_the_number_of_loaded_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **options: Any) -> staging.Stored:
        raise OperationalError("server closed the connection unexpectedly\n\tThis probably means\n")

    monkeypatch.setattr(load, "store", fail)
    with pytest.raises(LoadInterrupted) as raised:
        upsert_embeddings([json_lines(tmp_path / "x.jsonl", [row(UUID(int=1))])])
    assert str(raised.value) == (
        "PostgreSQL: server closed the connection unexpectedly This probably means."
        " Loaded before that: 0 rows. Repair this, then run the command again: rows may be loaded twice."
    )
