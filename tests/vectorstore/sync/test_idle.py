"""Workers with an empty queue.

They still compare the stores, and do not wait for what only an operator can repair.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from contextlib import suppress
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
from privacy.actions.replay import replay
from tests.qdrant import QdrantServer, free_port
from tests.schema.rows import ask
from tests.support.collections import version
from tests.support.commands import exit_code, manage, started
from tests.support.processes import ended
from tests.support.restored import restorable_postgres
from tests.support.secondary import secondary
from tests.support.users import create_users
from tests.support.waiting import wait_until
from tests.vectorstore.sync.points import ids, points, queued
from vectorstore.catalog.ownership import DATABASE, database_id
from vectorstore.consistency import preflight
from vectorstore.consistency.preflight import COMPARE_SECONDS
from vectorstore.models import QueueEntry, StoreState, VectorCollection
from vectorstore.qdrant.connection import collection_name, note_outage, qdrant
from vectorstore.retention.housekeeping import Housekeeping
from vectorstore.sync import watch
from vectorstore.sync import worker as worker_module
from vectorstore.sync.inline import sync_users
from vectorstore.sync.worker import Worker, sync_once
from vectorstore.verification.verify import verify

INSTRUCTION = "Nothing is written until you run manage.py verify_qdrant --repair."


def restore_older_postgresql_state() -> None:
    """Restore the state row of an older copy: its checkpoint differs from the collection's."""
    older = StoreState.objects.get()
    StoreState.objects.update(checkpoint_at=None)
    with qdrant() as client:
        preflight.check_stores(client)
    StoreState.objects.update(checkpoint=older.checkpoint, pending_checkpoint=older.pending_checkpoint, checkpoint_at=older.checkpoint_at)


def drop_collection() -> None:
    with qdrant() as client:
        delete_alias(client)
        client.delete_collection(version(1))


def delete_alias(client: QdrantClient) -> None:
    client.update_collection_aliases([models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=collection_name()))])


def move_alias() -> None:
    """Move the alias to a collection of this database that PostgreSQL does not know."""
    point_alias_to(f"{collection_name()}_v7")


def move_alias_to_foreign_collection() -> None:
    point_alias_to("foreign")


def point_alias_to(name: str) -> None:
    with qdrant() as client:
        name = name if name.startswith(collection_name()) else f"{collection_name()}_{name}"
        vectors = models.VectorParams(size=512, distance=models.Distance.COSINE)
        client.create_collection(name, vectors_config=vectors, metadata={DATABASE: database_id()})
        delete_alias(client)
        created = models.CreateAlias(alias_name=collection_name(), collection_name=name)
        client.update_collection_aliases([models.CreateAliasOperation(create_alias=created)])


def replace_alias_with_collection() -> None:
    with qdrant() as client:
        delete_alias(client)
        client.create_collection(collection_name(), vectors_config=models.VectorParams(size=512, distance=models.Distance.COSINE))


def change_database_id() -> None:
    ask("UPDATE vector_store_state SET database_id = gen_random_uuid()")


def truncate_state() -> None:
    """Simulate a TRUNCATE of every table: the database has another id and knows no collection."""
    ask("TRUNCATE vector_store_state, vector_collections, vector_sync_queue")


STATES = [
    (restore_older_postgresql_state, INSTRUCTION),
    (drop_collection, "make it with manage.py init_qdrant."),
    (move_alias, "run manage.py init_qdrant, which registers it"),
    (move_alias_to_foreign_collection, "delete the alias, or set QDRANT_COLLECTION to another name"),
    (replace_alias_with_collection, "is a real collection, but must be an alias"),
    (change_database_id, "belongs to another database"),
    (truncate_state, "belongs to another database"),
]


@pytest.fixture
def synced(any_collection: str) -> None:
    sync_three_users()


def sync_three_users() -> None:
    """Sync three users. Both stores have a checkpoint, and the queue is empty."""
    create_users(3)
    sync_once()
    with qdrant() as client:
        preflight.check_stores(client)
    assert queued() == 0


@pytest.mark.at_length(every=3)
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("break_stores", "line"), STATES, ids=[break_stores.__name__ for break_stores, _line in STATES])
def test_sync_once__empty_queue__reports_at_once_what_an_operator_must_repair(
    synced: None, monkeypatch: pytest.MonkeyPatch, break_stores: Callable[[], None], line: str
) -> None:
    """This also holds for a process whose last comparison, a moment ago, found no problem."""
    break_stores()
    QueueEntry.objects.all().delete()
    note_outage()
    monkeypatch.setattr(StallTimeout, "pause", lambda *_arguments: pytest.fail("It waits."))
    with pytest.raises(CommandError) as raised:
        call_command("sync_qdrant", "--once")
    assert raised.value.returncode == 2
    assert line in str(raised.value)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("meet_outage", [Housekeeping.run, lambda _: Worker()._acknowledge_rechecks()], ids=["housekeeping", "rechecks"])
def test_step__outage_met_while_idle__compares_before_the_next_write(
    synced: None, monkeypatch: pytest.MonkeyPatch, meet_outage: Callable[[Housekeeping], object]
) -> None:
    """Qdrant may be an older copy afterwards, and no batch has failed that would show it."""
    worker = Worker()
    assert watch._step(worker) is None
    restore_older_postgresql_state()
    assert not preflight.is_due()
    ask("INSERT INTO vector_sync_queue (user_id, awaits_ack) VALUES (%s, true)", UUID(int=1))
    with monkeypatch.context() as during_outage:
        during_outage.setattr(QdrantClient, "get_aliases", refuse)
        during_outage.setattr(QdrantClient, "get_collections", refuse)
        with suppress(StoreUnavailable):
            meet_outage(Housekeeping())
    assert watch._step(worker) is None
    assert worker.unavailable is not None
    assert INSTRUCTION in worker.unavailable


def refuse(_client: QdrantClient, *_arguments: object, **_options: object) -> None:
    raise StoreUnavailable("Qdrant does not answer.")


@pytest.mark.at_length(every=3)
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("break_stores", "line"), STATES, ids=[break_stores.__name__ for break_stores, _line in STATES])
def test_watch__empty_queue__compares_once_a_minute_and_reports_once(
    synced: None, monkeypatch: pytest.MonkeyPatch, break_stores: Callable[[], None], line: str
) -> None:
    reported: list[str] = []
    worker = Worker(on_unavailable=reported.append)
    assert watch._step(worker) is None
    assert reported == []
    break_stores()
    QueueEntry.objects.all().delete()
    keep_checkpoint_fresh()
    let_a_minute_pass(monkeypatch)
    for _ in range(3):
        assert watch._step(worker) is None
    assert len(reported) == 1
    assert line in reported[0]
    assert worker.pause > worker_module.MIN_PAUSE


def keep_checkpoint_fresh() -> None:
    """Pretend that another worker renews the checkpoint.

    This worker then has to compare the stores itself.
    """
    StoreState.objects.update(checkpoint_at="2100-01-01T00:00Z")


def let_a_minute_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monotonic = time.monotonic
    monkeypatch.setattr("vectorstore.consistency.preflight.time.monotonic", lambda: monotonic() + COMPARE_SECONDS)


@pytest.mark.django_db(transaction=True)
def test_watch__empty_queue__compares_at_most_once_a_minute(synced: None, monkeypatch: pytest.MonkeyPatch) -> None:
    worker, compared = Worker(), []
    watch._step(worker)
    keep_checkpoint_fresh()
    monkeypatch.setattr(preflight, "compare_checkpoints", lambda _client: compared.append(1))
    for _ in range(3):
        watch._step(worker)
    assert compared == []
    let_a_minute_pass(monkeypatch)
    for _ in range(3):
        watch._step(worker)
    assert compared == [1]


@pytest.mark.django_db(transaction=True)
def test_watch__repaired_problem_returns__is_reported_again(synced: None, monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[str] = []
    worker = Worker(on_unavailable=reported.append)
    ours = StoreState.current().database_id
    for _ in range(2):
        change_database_id()
        note_outage()
        watch._step(worker)
        watch._step(worker)
        StoreState.objects.update(database_id=ours)
        watch._step(worker)
        assert worker.unavailable is None
    assert len(reported) == 2


@pytest.mark.django_db
def test_sync_once__empty_queue_and_store_unavailable__waits(collection: str, settings: Settings) -> None:
    """An unavailable store may have been restored."""
    settings.QDRANT_URL = f"http://127.0.0.1:{free_port()}"
    reported: list[str] = []
    with pytest.raises(CommandError) as raised:
        call_command("sync_qdrant", "--once", "--timeout", "0.5")
    assert raised.value.returncode == 2
    assert str(raised.value).startswith("Nothing answers at QDRANT_URL")
    synced = sync_once(timeout=0.5, on_unavailable=reported.append)
    assert len(reported) == 1
    assert synced.unavailable == reported[0]


@pytest.mark.django_db
@pytest.mark.parametrize("with_entry", [False, True])
def test_sync_once__restored_while_unavailable__stops_waiting(
    embedded_collection: str, monkeypatch: pytest.MonkeyPatch, with_entry: bool
) -> None:
    """A store is unavailable at the start, and then returns as an older copy."""
    create_users(int(with_entry))
    answers: list[UserFacingError] = [StoreUnavailable("No answer."), StoreUnavailable("No answer."), StoreUnusable("Restored.")]

    def next_answer(_client: object) -> None:
        raise answers.pop(0)

    monkeypatch.setattr(preflight, "check_stores", next_answer)
    monkeypatch.setattr(preflight, "is_due", lambda: True)
    with pytest.raises(StoreUnusable):
        sync_once(timeout=60)
    assert answers == []


# --- A real dump and a real restore ------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.at_length
@pytest.mark.django_db(transaction=True)
def test_restored_postgresql__empty_queue__every_command_notices(collection: str) -> None:
    user_ids = create_users(5)
    sync_once()
    with restorable_postgres(dumped=True) as restore:
        erase(user_ids[0])
        anonymize(user_ids[1])
        assert points() == ids(user_ids[2:])
        restore()
        assert queued() == 0
        code, out, err = manage("sync_qdrant", "--once", "--timeout", "300")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert INSTRUCTION in err
        code, out, err = manage("init_qdrant", "--check")
        assert (code, err) == (1, "")
        assert INSTRUCTION in out
        watching = started("sync_qdrant", "--watch")
        try:
            assert watching.stderr is not None
            line = watching.stderr.readline()
            assert INSTRUCTION.rstrip(".") in line and line.endswith(". Trying again.\n")
            assert manage("verify_qdrant", "--repair", "--after-restore")[0] == 1
            wait_until(lambda: points() == ids(user_ids), "All users are written")
            wait_until(lambda: queued() == 0, "The queue is empty")
            watching.send_signal(signal.SIGTERM)
            assert ended(watching)[::2] == (0, "")
        finally:
            watching.kill()
        assert verify().clean
        assert manage("sync_qdrant", "--once") == (0, "Nothing to do.\n", "")
        assert manage("init_qdrant", "--check")[0] == 0


@pytest.mark.at_length("embedded")
@pytest.mark.django_db(transaction=True)
def test_init_qdrant__restored_store__is_reported(synced: None, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("init_qdrant", "--check")
    assert "is as defined." in capsys.readouterr().out
    restore_older_postgresql_state()
    for options in (["--check"], []):
        with pytest.raises(SystemExit) as ended_with:
            call_command("init_qdrant", *options)
        assert ended_with.value.code == 1
        assert INSTRUCTION in capsys.readouterr().out
    call_command("init_qdrant", "--plan")
    assert INSTRUCTION in capsys.readouterr().out
    with pytest.raises(SystemExit):
        call_command("init_qdrant", "--check", "--json")
    assert f'{INSTRUCTION}",' in capsys.readouterr().out
    assert VectorCollection.objects.get().state == VectorCollection.State.LIVE


def delete_with_sql(user_id: UUID) -> None:
    ask(f"DELETE FROM users WHERE id = '{user_id}'")
    sync_once()


def update_with_sql_and_sync(user_id: UUID) -> None:
    """Change the user and sync the point at once, as the admin does."""
    ask(f"UPDATE users SET verified = false WHERE id = '{user_id}'")
    sync_users([user_id])


@pytest.mark.at_length("anonymize", "soft_delete", "delete_with_sql", "update_with_sql_and_sync")
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "remove", [erase, anonymize, soft_delete, delete_with_sql, update_with_sql_and_sync], ids=lambda remove: remove.__name__
)
def test_restored_postgresql__copy_from_before_a_deletion__is_noticed(
    embedded_collection: str, capsys: pytest.CaptureFixture[str], remove: Callable[[UUID], object]
) -> None:
    sync_three_users()
    restore_after(remove, capsys)


@pytest.mark.qdrant_server
@pytest.mark.django_db(transaction=True)
def test_restored_postgresql__copy_from_before_a_deletion_on_a_server__is_noticed(
    server: QdrantServer, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("init_qdrant")
    sync_three_users()
    restore_after(erase, capsys)


def restore_after(remove: Callable[[UUID], object], capsys: pytest.CaptureFixture[str]) -> None:
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
        if replay().copied == 0:  # plain SQL was not in the ledger yet
            remove(user_id)
        assert [exit_code("verify_qdrant"), exit_code("sync_qdrant")] == [0, 0]
    capsys.readouterr()


@pytest.mark.django_db(transaction=True)
def test_sync_once__empty_queue_and_a_missing_secondary_collection__ends(synced: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secondary collection that does not exist is skipped, and is no outage. The comparison holds."""
    secondary(VectorCollection.State.RETAINED, made=False)
    monkeypatch.setattr(preflight, "COMPARE_SECONDS", 300.0)
    with qdrant() as client:
        preflight.check_stores(client)
    assert not preflight.is_due()
    assert sync_once(timeout=1).unavailable is None
