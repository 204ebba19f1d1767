"""Workers with an empty queue: they compare the stores all the same, and do not wait for what only a person can mend."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from uuid import UUID

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from pytest_django import Settings
from qdrant_client import QdrantClient, models

from findme.core.errors import StoreUnavailable, StoreUnusable, UserFacingError
from findme.core.waiting import StallTimeout
from privacy.actions.anonymize import anonymize
from privacy.actions.erase import erase, soft_delete
from tests.qdrant import QdrantServer, free_port
from tests.support.waiting import wait_until
from tests.vectorstore.commands import ended, exit_code, manage, started
from tests.vectorstore.restored import restorable_postgres
from tests.vectorstore.sync.people import ids, people, plain_sql, points, queued
from vectorstore.catalog.ownership import DATABASE, database_id
from vectorstore.consistency import preflight
from vectorstore.consistency.preflight import COMPARE_SECONDS
from vectorstore.models import QueueEntry, StoreState, VectorCollection
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.sync import watch
from vectorstore.sync import worker as drain
from vectorstore.sync.inline import sync_users
from vectorstore.sync.worker import Worker, sync_once
from vectorstore.verification.verify import verify

WAY_OUT = "Nothing is written until you run manage.py verify_qdrant --repair."


def live() -> str:
    return f"{collection_name()}_v1"


def put_postgresql_back() -> None:
    """The state row of an older copy: another checkpoint than the collection carries."""
    older = StoreState.objects.get()
    StoreState.objects.update(checkpoint_at=None)
    with qdrant() as client:
        preflight.check_stores(client)
    StoreState.objects.update(checkpoint=older.checkpoint, pending_checkpoint=older.pending_checkpoint, checkpoint_at=older.checkpoint_at)


def drop_the_collection() -> None:
    with qdrant() as client:
        delete_alias(client)
        client.delete_collection(live())


def delete_alias(client: QdrantClient) -> None:
    client.update_collection_aliases([models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=collection_name()))])


def move_the_alias() -> None:
    """To a collection of this database that PostgreSQL does not know."""
    lead_to(f"{collection_name()}_v7")


def move_the_alias_to_anothers() -> None:
    lead_to("somebody_elses")


def lead_to(name: str) -> None:
    with qdrant() as client:
        name = name if name.startswith(collection_name()) else f"{collection_name()}_{name}"
        vectors = models.VectorParams(size=512, distance=models.Distance.COSINE)
        client.create_collection(name, vectors_config=vectors, metadata={DATABASE: database_id()})
        delete_alias(client)
        created = models.CreateAlias(alias_name=collection_name(), collection_name=name)
        client.update_collection_aliases([models.CreateAliasOperation(create_alias=created)])


def put_a_real_collection_there() -> None:
    with qdrant() as client:
        delete_alias(client)
        client.create_collection(collection_name(), vectors_config=models.VectorParams(size=512, distance=models.Distance.COSINE))


def replace_postgresql() -> None:
    plain_sql("UPDATE vector_store_state SET database_id = gen_random_uuid()")


def lose_the_state() -> None:
    """As after a TRUNCATE of every table: the database has another id, and knows no collection."""
    plain_sql("TRUNCATE vector_store_state, vector_collections, vector_sync_queue")


STATES = [
    (put_postgresql_back, WAY_OUT),
    (drop_the_collection, "make it with manage.py init_qdrant."),
    (move_the_alias, "run manage.py init_qdrant, which registers it"),
    (move_the_alias_to_anothers, "delete the alias, or set QDRANT_COLLECTION to another name"),
    (put_a_real_collection_there, "is a real collection, but must be an alias"),
    (replace_postgresql, "belongs to another database"),
    (lose_the_state, "belongs to another database"),
]


@pytest.fixture
def synced(any_collection: str) -> None:
    sync_three_users()


def sync_three_users() -> None:
    """Three users with their points, a checkpoint in both stores, and an empty queue."""
    people(3)
    sync_once()
    with qdrant() as client:
        preflight.check_stores(client)
    assert queued() == 0


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("happens", "line"), STATES, ids=[happens.__name__ for happens, _line in STATES])
def test_sync_once__with_an_empty_queue_says_at_once_what_only_a_person_mends(
    synced: None, monkeypatch: pytest.MonkeyPatch, happens: Callable[[], None], line: str
) -> None:
    """Also a process that found everything right a moment ago."""
    happens()
    QueueEntry.objects.all().delete()
    preflight.invalidate()
    monkeypatch.setattr(StallTimeout, "pause", lambda *_arguments: pytest.fail("It waits."))
    with pytest.raises(CommandError) as raised:
        call_command("sync_qdrant", "--once")
    assert raised.value.returncode == 2
    assert line in str(raised.value)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("happens", "line"), STATES, ids=[happens.__name__ for happens, _line in STATES])
def test_watch__with_an_empty_queue_looks_once_a_minute_and_says_it_once(
    synced: None, monkeypatch: pytest.MonkeyPatch, happens: Callable[[], None], line: str
) -> None:
    said: list[str] = []
    worker = Worker(on_unavailable=said.append)
    assert watch._step(worker) is None
    assert said == []
    happens()
    QueueEntry.objects.all().delete()
    keep_checkpoint_fresh()
    a_minute_passes(monkeypatch)
    for _ in range(3):
        assert watch._step(worker) is None
    assert len(said) == 1
    assert line in said[0]
    assert worker.pause > drain.MIN_PAUSE


def keep_checkpoint_fresh() -> None:
    """Another worker renews it, so that this one has to compare by itself."""
    StoreState.objects.update(checkpoint_at="2100-01-01T00:00Z")


def a_minute_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monotonic = time.monotonic
    monkeypatch.setattr("vectorstore.consistency.preflight.time.monotonic", lambda: monotonic() + COMPARE_SECONDS)


@pytest.mark.django_db(transaction=True)
def test_watch__compares_no_more_often_than_once_a_minute(synced: None, monkeypatch: pytest.MonkeyPatch) -> None:
    worker, compared = Worker(), []
    watch._step(worker)
    keep_checkpoint_fresh()
    monkeypatch.setattr(preflight, "compare_checkpoints", lambda _client: compared.append(1))
    for _ in range(3):
        watch._step(worker)
    assert compared == []
    a_minute_passes(monkeypatch)
    for _ in range(3):
        watch._step(worker)
    assert compared == [1]


@pytest.mark.django_db(transaction=True)
def test_watch__what_was_mended_meanwhile_is_said_again_if_it_comes_back(synced: None, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    worker = Worker(on_unavailable=said.append)
    ours = StoreState.current().database_id
    for _ in range(2):
        replace_postgresql()
        preflight.invalidate()
        watch._step(worker)
        watch._step(worker)
        StoreState.objects.update(database_id=ours)
        watch._step(worker)
        assert worker.unavailable is None
    assert len(said) == 2


@pytest.mark.django_db
def test_sync_once__a_store_that_is_unavailable_is_waited_for_though_the_queue_is_empty(collection: str, settings: Settings) -> None:
    """Nobody knows then whether it was restored."""
    settings.QDRANT_URL = f"http://127.0.0.1:{free_port()}"
    said: list[str] = []
    with pytest.raises(CommandError) as raised:
        call_command("sync_qdrant", "--once", "--timeout", "0.5")
    assert raised.value.returncode == 2
    assert str(raised.value).startswith("Nothing answers at QDRANT_URL")
    synced = sync_once(timeout=0.5, on_unavailable=said.append)
    assert len(said) == 1
    assert synced.unavailable == said[0]


@pytest.mark.django_db
@pytest.mark.parametrize("with_entry", [False, True])
def test_sync_once__what_only_a_person_mends_is_not_waited_for_in_the_middle(
    embedded_collection: str, monkeypatch: pytest.MonkeyPatch, with_entry: bool
) -> None:
    """A store that is unavailable at the start, and then comes back as an older copy."""
    people(int(with_entry))
    answers: list[UserFacingError] = [StoreUnavailable("Away."), StoreUnavailable("Away."), StoreUnusable("Restored.")]

    def prove(_client: object) -> None:
        raise answers.pop(0)

    monkeypatch.setattr(preflight, "check_stores", prove)
    monkeypatch.setattr(preflight, "is_due", lambda: True)
    with pytest.raises(StoreUnusable):
        sync_once(timeout=60)
    assert answers == []


# --- A real dump and a real restore ------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.at_length("server")
@pytest.mark.django_db(transaction=True)
def test_restored_postgresql__of_an_empty_queue_is_noticed_by_everybody(collection: str) -> None:
    there = people(5)
    sync_once()
    with restorable_postgres(dumped=True) as restore:
        erase(there[0])
        anonymize(there[1])
        assert points() == ids(there[2:])
        restore()
        assert queued() == 0
        code, out, err = manage("sync_qdrant", "--once", "--timeout", "300")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert WAY_OUT in err
        code, out, err = manage("init_qdrant", "--check")
        assert (code, err) == (1, "")
        assert WAY_OUT in out
        watching = started("sync_qdrant", "--watch")
        try:
            assert watching.stderr is not None
            line = watching.stderr.readline()
            assert WAY_OUT.rstrip(".") in line and line.endswith(". Trying again.\n")
            assert manage("verify_qdrant", "--repair", "--after-restore")[0] == 1
            wait_until(lambda: points() == ids(there), "Everybody is written")
            wait_until(lambda: queued() == 0, "Nobody is queued")
            watching.send_signal(signal.SIGTERM)
            assert ended(watching)[::2] == (0, "")
        finally:
            watching.kill()
        assert verify().clean
        assert manage("sync_qdrant", "--once") == (0, "Nothing to do.\n", "")
        assert manage("init_qdrant", "--check")[0] == 0


@pytest.mark.django_db(transaction=True)
def test_init_qdrant__reports_a_restored_store(synced: None, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("init_qdrant", "--check")
    assert "is as defined." in capsys.readouterr().out
    put_postgresql_back()
    for options in (["--check"], []):
        with pytest.raises(SystemExit) as ended_with:
            call_command("init_qdrant", *options)
        assert ended_with.value.code == 1
        assert WAY_OUT in capsys.readouterr().out
    call_command("init_qdrant", "--plan")
    assert WAY_OUT in capsys.readouterr().out
    with pytest.raises(SystemExit):
        call_command("init_qdrant", "--check", "--json")
    assert f'{WAY_OUT}",' in capsys.readouterr().out
    assert VectorCollection.objects.get().state == VectorCollection.State.LIVE


def delete_with_sql(user_id: UUID) -> None:
    plain_sql(f"DELETE FROM users WHERE id = '{user_id}'")
    sync_once()


def delete_with_sql_and_project(user_id: UUID) -> None:
    """As the admin has the point follow a change."""
    plain_sql(f"UPDATE users SET verified = false WHERE id = '{user_id}'")
    sync_users([user_id])


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "remove", [erase, anonymize, soft_delete, delete_with_sql, delete_with_sql_and_project], ids=lambda remove: remove.__name__
)
def test_restored_postgresql__to_a_copy_from_right_before_a_deletion(
    embedded_collection: str, capsys: pytest.CaptureFixture[str], remove: Callable[[UUID], object]
) -> None:
    sync_three_users()
    restored_after(remove, capsys)


@pytest.mark.qdrant_server
@pytest.mark.django_db(transaction=True)
def test_restored_postgresql__to_a_copy_from_right_before_a_deletion__on_a_server(
    server: QdrantServer, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("init_qdrant")
    sync_three_users()
    restored_after(erase, capsys)


def restored_after(remove: Callable[[UUID], object], capsys: pytest.CaptureFixture[str]) -> None:
    """No worker renews the checkpoint between the deletion and the restore."""
    user_id = UUID(str(min(points())))
    with restorable_postgres() as restore:
        remove(user_id)
        restore()
        with pytest.raises(CommandError, match="it was restored to an older copy, or failed over") as raised:
            call_command("sync_qdrant", "--once")
        assert raised.value.returncode == 2
        assert [
            exit_code("init_qdrant", "--check"),
            exit_code("verify_qdrant", "--repair", "--force", "--after-restore"),
            exit_code("sync_qdrant"),
        ] == [
            1,
            1,
            0,
        ]
        remove(user_id)
        assert [exit_code("verify_qdrant"), exit_code("sync_qdrant")] == [0, 0]
    capsys.readouterr()
