import json
import signal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from pytest_django import DjangoAssertNumQueries, Settings
from qdrant_client import QdrantClient, models

from accounts.models import User
from findme.console.errors import StoreUnavailable
from tests.factories import ProfileEmbeddingFactory, UserFactory, unit_vector
from tests.qdrant import QdrantServer, freeze, started_qdrant, thaw
from tests.threads import in_thread
from tests.vectorstore.commands import run_python
from vectorstore import reconcile as sync
from vectorstore.connection import collection_name, qdrant
from vectorstore.initialisation import initialise
from vectorstore.models import ProfileEmbedding
from vectorstore.projection import payload_of, point_of, project
from vectorstore.reconcile import Synced, sync_everyone

pytestmark = pytest.mark.django_db


@pytest.fixture
def collection(store: str) -> str:
    initialise(lambda _: None)
    return store


@pytest.fixture
def any_collection(every_store: str) -> str:
    initialise(lambda _: None)
    return every_store


def points() -> set[models.ExtendedPointId]:
    with qdrant() as client:
        return {record.id for record in client.scroll(collection_name(), limit=10_000)[0]}


def people(count: int) -> list[UUID]:
    return sorted(embedding.pk for embedding in ProfileEmbeddingFactory.create_batch(count))


def ids(user_ids: list[UUID]) -> set[models.ExtendedPointId]:
    return {str(user_id) for user_id in user_ids}


def write(*written: models.PointStruct) -> None:
    with qdrant() as client:
        client.upsert(collection_name(), list(written), wait=True)


def plain_sql(statement: str, *parameters: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


# --- What it mends ---------------------------------------------------------------------------------------------------------------


def test_sync_everyone__fills_an_empty_collection_and_then_has_nothing_to_do(any_collection: str) -> None:
    there = people(5)
    ProfileEmbeddingFactory.create(user__staff=True)
    ProfileEmbeddingFactory.create(user__deleted=True)
    UserFactory.create()
    assert sync_everyone(batch_size=2) == Synced(written=5)
    assert points() == ids(there)
    assert sync_everyone(batch_size=2) == Synced(unchanged=5)


def test_sync_everyone__a_change_by_plain_sql(any_collection: str) -> None:
    changed, moved, gone, hidden, staff, kept = people(6)
    sync_everyone()
    plain_sql("UPDATE users SET verified = false WHERE id = %s", changed)
    plain_sql("UPDATE profile_embeddings SET vector = %s WHERE user_id = %s", unit_vector(99), moved)
    plain_sql("DELETE FROM users WHERE id = %s", gone)
    plain_sql("UPDATE users SET deleted_at = now() WHERE id = %s", hidden)
    plain_sql("UPDATE users SET is_staff = true WHERE id = %s", staff)
    assert sync_everyone() == Synced(unchanged=1, written=2, removed=3)
    assert points() == ids([changed, moved, kept])
    assert [point_of(user_id)["payload"]["verified"] for user_id in (changed, moved)] == [False, True]  # type: ignore[index]
    assert np.allclose(point_of(moved)["vector"], unit_vector(99), atol=1e-6)  # type: ignore[index]
    assert sync_everyone() == Synced(unchanged=3)


def test_sync_everyone__points_that_somebody_else_wrote(any_collection: str) -> None:
    (person,) = people(1)
    sync_everyone()
    vector = unit_vector(1)
    numbers = [models.PointStruct(id=number, vector=vector) for number in (1, 7)]
    write(*numbers, *(models.PointStruct(id=str(uuid4()), vector=vector) for _ in range(3)))
    assert len(points()) == 6
    assert sync_everyone() == Synced(unchanged=1, removed=5)
    assert points() == ids([person])


@pytest.mark.parametrize("spoilt", ["another vector", "no payload", "a field too many", "another value"])
def test_sync_everyone__a_point_that_was_spoilt(any_collection: str, spoilt: str) -> None:
    embedding = ProfileEmbeddingFactory.create()
    sync_everyone()
    embedding.refresh_from_db()
    right = payload_of(embedding.user, embedding)
    vector = unit_vector(1000) if spoilt == "another vector" else list(embedding.vector)
    payload = {"no payload": {}, "a field too many": right | {"more": 1}, "another value": right | {"age": 7}}.get(spoilt, right)
    write(models.PointStruct(id=str(embedding.pk), vector=vector, payload=payload))
    assert sync_everyone() == Synced(written=1)
    assert point_of(embedding.pk)["payload"] == right  # type: ignore[index]
    assert sync_everyone() == Synced(unchanged=1)


@pytest.mark.qdrant_server
def test_sync_everyone__a_vector_of_nan(qdrant_server_grpc: object) -> None:
    """By gRPC a server stores it, and answers that all is well."""
    initialise(lambda _: None)
    embedding = ProfileEmbeddingFactory.create()
    sync_everyone()
    write(
        models.PointStruct(id=str(embedding.pk), vector=[float("nan"), *unit_vector(1)[1:]], payload=payload_of(embedding.user, embedding))
    )
    assert sync_everyone() == Synced(written=1)
    assert sync_everyone() == Synced(unchanged=1)


def test_sync_everyone__a_lost_collection(any_collection: str) -> None:
    there = people(3)
    sync_everyone()
    with qdrant() as client:
        client.delete_collection(f"{collection_name()}_v1")
    with pytest.raises(StoreUnavailable, match=r"make it with manage\.py init_qdrant\.$"):
        sync_everyone()
    initialise(lambda _: None)
    assert sync_everyone() == Synced(written=3)
    assert points() == ids(there)


@pytest.mark.qdrant_server
@pytest.mark.parametrize("with_grpc", [False, True])
def test_sync_everyone__an_outage(memory_path: Path, settings: Settings, with_grpc: bool) -> None:
    settings.QDRANT_TIMEOUT = 2
    with started_qdrant(memory_path) as server:
        settings.QDRANT_URL, settings.QDRANT_GRPC_PORT = server.url, server.grpc_port if with_grpc else 0
        initialise(lambda _: None)
        (person,) = people(1)
        freeze(server)
        with pytest.raises(StoreUnavailable, match="did not answer within 2 s"):
            project([person])
        thaw(server)
        assert sync_everyone() in {Synced(written=1), Synced(unchanged=1)}  # by REST the late request may still arrive
        assert points() == ids([person])


def test_sync_everyone__dry_run_counts_and_changes_nothing(any_collection: str) -> None:
    kept, missing, gone = people(3)
    project([kept, gone])
    plain_sql("DELETE FROM users WHERE id = %s", gone)
    write(models.PointStruct(id=5, vector=unit_vector(1)))
    before = points()
    assert sync_everyone(dry_run=True) == Synced(unchanged=1, written=1, removed=2)
    assert points() == before
    assert sync_everyone() == Synced(unchanged=1, written=1, removed=2)
    assert points() == ids([kept, missing])


def test_sync_everyone__more_than_a_page(collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "PAGE_SIZE", 3)
    there = people(7)
    sync_everyone(batch_size=3)
    strangers = [models.PointStruct(id=str(uuid4()), vector=unit_vector(1)) for _ in range(8)]
    write(*strangers)
    assert sync_everyone(batch_size=3) == Synced(unchanged=7, removed=8)
    assert points() == ids(there)


# --- Beside others, and killed ---------------------------------------------------------------------------------------------------


def test_sync_everyone__a_person_who_is_deleted_in_the_middle_of_it(collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After their rows were read, and before they are written."""
    leaving, staying = people(2)
    differing = sync._differing

    def meanwhile(*arguments: Any) -> list[UUID]:
        found = differing(*arguments)
        plain_sql("DELETE FROM users WHERE id = %s", leaving)
        return found

    monkeypatch.setattr(sync, "_differing", meanwhile)
    assert sync_everyone() == Synced(written=1)
    assert points() == ids([staying])


def test_sync_everyone__a_person_who_comes_back_in_the_middle_of_it(collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After their point was taken for a stranger's, and before it is removed."""
    (person,) = people(1)
    sync_everyone()
    plain_sql("UPDATE users SET deleted_at = now() WHERE id = %s", person)

    def meanwhile(user_ids: list[UUID]) -> Any:
        plain_sql("UPDATE users SET deleted_at = NULL WHERE id = %s", person)
        return project(user_ids)

    monkeypatch.setattr("vectorstore.reconcile.project", meanwhile)
    assert sync_everyone() == Synced(written=1)
    assert points() == ids([person])


KILLED = """
import os, signal
from qdrant_client import QdrantClient
from vectorstore.reconcile import sync_everyone

upsert = QdrantClient.upsert
batches = 0

def dying(*arguments, **options):
    global batches
    batches += 1
    upsert(*arguments, **options)
    if batches == 2:
        os.kill(os.getpid(), signal.SIGKILL)

QdrantClient.upsert = dying
sync_everyone(batch_size=2)
"""


@pytest.mark.django_db(transaction=True)
def test_sync_everyone__killed_goes_on(collection: str) -> None:
    there = people(7)
    assert run_python(KILLED)[0] == -signal.SIGKILL
    assert points() < ids(there)
    done = sync_everyone(batch_size=2)
    assert (done.unchanged >= 2, done.unchanged + done.written, done.removed) == (True, 7, 0)
    assert points() == ids(there)


@pytest.mark.django_db(transaction=True)
def test_sync_everyone__two_at_once_beside_a_writer(collection: str) -> None:
    there = people(30)

    def leave() -> None:
        for user_id in there[:10]:
            User.objects.filter(pk=user_id).delete()
            project([user_id])

    threads = [in_thread(lambda: sync_everyone(batch_size=4)), in_thread(lambda: sync_everyone(batch_size=7)), in_thread(leave)]
    for thread in threads:
        thread.join(120)
    assert points() == ids(there[10:])
    assert sync_everyone() == Synced(unchanged=20)


def test_sync_everyone__its_queries_do_not_grow_with_a_batch(collection: str, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    for _ in range(2):
        people(4)
        sync_everyone()
        with django_assert_num_queries(4):  # how many; their rows; no more rows; whose the points are
            sync_everyone()


def test_sync_everyone__reports_how_far_it_is(collection: str) -> None:
    people(5)
    seen: list[tuple[int, int | None]] = []
    sync_everyone(batch_size=2, report=lambda done, total=None: seen.append((done, total)))
    assert seen == [(2, 5), (4, 5), (5, 5), (5, 5)]
    seen.clear()
    sync_everyone(batch_size=2, report=lambda done, total=None: seen.append((done, total)))
    assert seen == [(2, 10), (4, 10), (5, 10), (10, 10)]


# --- The command -----------------------------------------------------------------------------------------------------------------


def output(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    call_command("sync_qdrant", *arguments)
    written = capsys.readouterr()
    assert written.err == ""
    return written.out


def test_sync_qdrant__says_what_it_did(collection: str, capsys: pytest.CaptureFixture[str]) -> None:
    gone = people(3)[0]
    assert output(capsys, "--once", "--dry-run") == "3 points would be written, 0 would be removed; 0 were as they are to be.\n"
    assert output(capsys, "--once") == "3 points written, 0 removed; 0 were as they are to be.\n"
    assert output(capsys, "--once") == "Nothing to do: 3 points are as they are to be.\n"
    ProfileEmbedding.objects.filter(pk=gone).delete()
    assert json.loads(output(capsys, "--once", "--dry-run", "--json")) == {"dry_run": True, "unchanged": 2, "written": 0, "removed": 1}
    assert json.loads(output(capsys, "--once", "--json", "--batch-size", "1")) == {
        "dry_run": False,
        "unchanged": 2,
        "written": 0,
        "removed": 1,
    }


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "Error: the following arguments are required: --once"),
        (["--once", "--batch-size", "0"], "Error: argument --batch-size: '0' is not a number from 1 to 10000"),
        (["--once", "--batch-size", "10001"], "Error: argument --batch-size: '10001' is not a number from 1 to 10000"),
        (["--once", "--batch-size", "many"], "Error: argument --batch-size: 'many' is not a number from 1 to 10000"),
    ],
)
def test_sync_qdrant__arguments_that_it_does_not_take(arguments: list[str], line: str) -> None:
    with pytest.raises(CommandError) as raised:
        call_command("sync_qdrant", *arguments)
    assert str(raised.value) == line


def test_sync_qdrant__in_one_line_where_there_is_no_collection(store: str) -> None:
    for arguments in (["--once"], ["--once", "--dry-run"]):
        with pytest.raises(CommandError) as raised:
            call_command("sync_qdrant", *arguments)
        assert str(raised.value) == f"Qdrant has no collection {collection_name()!r}: make it with manage.py init_qdrant."
        assert raised.value.returncode == 2


def test_sync_qdrant__never_touches_a_real_collection_of_that_name(store: str) -> None:
    """The guide's own program makes one; whose points those are is not known."""
    with qdrant() as client:
        client.create_collection(collection_name(), vectors_config=models.VectorParams(size=512, distance=models.Distance.COSINE))
        client.upsert(collection_name(), [models.PointStruct(id=1, vector=unit_vector(1))])
    with pytest.raises(CommandError):
        call_command("sync_qdrant", "--once")
    assert points() == {1}


def test_sync_qdrant__in_one_line_where_the_collection_is_another_one(every_store: str) -> None:
    (person,) = people(1)
    with qdrant() as client:
        client.create_collection(f"{collection_name()}_v1", vectors_config=models.VectorParams(size=4, distance=models.Distance.COSINE))
        alias = models.CreateAlias(collection_name=f"{collection_name()}_v1", alias_name=collection_name())
        client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
        client.upsert(collection_name(), [models.PointStruct(id=str(person), vector=[1.0, 2.0, 3.0, 4.0], payload=a_payload(person))])
    assert sync_everyone(dry_run=True) == Synced(written=1)
    with pytest.raises(CommandError) as raised:
        call_command("sync_qdrant", "--once")
    assert "refused this: Wrong input: Vector dimension error: expected dim: 4, got 512" in str(raised.value)
    assert str(raised.value).endswith(" See manage.py init_qdrant --check.")
    assert raised.value.returncode == 2


def a_payload(person: UUID) -> dict[str, Any]:
    embedding = ProfileEmbedding.objects.select_related("user").get(pk=person)
    return payload_of(embedding.user, embedding)


@pytest.mark.qdrant_server
def test_sync_everyone__changes_nothing_of_the_graph_where_all_is_right(
    qdrant_server: QdrantServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written at all: a graph is not built for nothing."""
    initialise(lambda _: None)
    people(3)
    sync_everyone()
    for name in ("upsert", "delete"):
        monkeypatch.setattr(QdrantClient, name, lambda *_arguments, **_options: pytest.fail("written"))
    assert sync_everyone() == Synced(unchanged=3)
