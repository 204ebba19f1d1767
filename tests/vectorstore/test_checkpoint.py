import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.db.models import F, Func, Value
from psycopg import sql
from pytest_django import Settings
from qdrant_client import QdrantClient, models

from accounts.models import User
from findme.core.errors import StoreUnavailable
from privacy.actions.erase import erase
from tests.factories import ProfileEmbeddingFactory, unit_vector
from tests.qdrant import QdrantServer, started_qdrant
from tests.support.threads import in_thread
from tests.support.waiting import wait_until
from vectorstore.catalog import registry
from vectorstore.consistency import checkpoint
from vectorstore.consistency import sentinels as sentinels_module
from vectorstore.consistency.checkpoint import compare_checkpoints, is_checkpoint_due, renew_checkpoint, reset_checkpoint, write_checkpoint
from vectorstore.consistency.sentinels import sentinel_points
from vectorstore.consistency.versions import (
    MARGIN,
    MAX_UNALLOCATED,
    TOO_HIGH,
    allocate_version,
    highest,
    last_allocated,
    newest,
    raise_above,
    version_of,
)
from vectorstore.models import QuarantinedUser, QueueEntry, StoreState, VectorCollection
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.qdrant.errors import RestoreDetected
from vectorstore.queue import transactions
from vectorstore.queue.entries import enqueue
from vectorstore.schema.initialize import initialize
from vectorstore.sync import inline
from vectorstore.sync.inline import sync_users

pytestmark = pytest.mark.django_db

NEXT = " Nothing is written until you run manage.py verify_qdrant --repair."


@pytest.fixture
def collection(every_store: str) -> str:
    initialize()
    return f"{collection_name()}_v1"


@pytest.fixture
def live(store: str) -> str:
    initialize()
    return f"{collection_name()}_v1"


def people(count: int) -> list[UUID]:
    """People with their points."""
    there = [embedding.pk for embedding in ProfileEmbeddingFactory.create_batch(count)]
    for person in there:
        sync_users([person])
    return there


def renew() -> bool:
    """Whether it is time or not."""
    StoreState.objects.update(checkpoint_at=None)
    with qdrant() as client:
        return renew_checkpoint(client)


def check() -> None:
    with qdrant() as client:
        compare_checkpoints(client)


def reason() -> str:
    with pytest.raises(RestoreDetected) as raised:
        check()
    return str(raised.value)


def carried(name: str) -> Any:
    with qdrant() as client:
        return (client.get_collection(name).config.metadata or {}).get("findme_checkpoint")


def upsert(name: str, point_id: int | str, **payload: Any) -> None:
    with qdrant() as client:
        client.upsert(name, [models.PointStruct(id=point_id, vector=unit_vector(1), payload=payload)], wait=True)


def made(client: QdrantClient, name: str) -> None:
    client.create_collection(name, vectors_config=models.VectorParams(size=512, distance=models.Distance.COSINE))


# --- Versions --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "version"),
    [
        *[
            (payload, None)
            for payload in (None, {}, {"version": True}, {"version": 7.0}, {"version": "7"}, {"version": -1}, {"version": MAX_UNALLOCATED})
        ],
        ({"version": TOO_HIGH - 1}, None),
        ({"version": 7}, 7),
        ({"version": MAX_UNALLOCATED - 1}, MAX_UNALLOCATED - 1),
    ],
)
def test_version_of__only_what_a_worker_can_have_written(payload: dict[str, Any] | None, version: int | None) -> None:
    assert version_of(payload) == version


def test_version_of__a_sequence_that_another_program_drove_up(restored_sequence: None) -> None:
    """It goes on from the highest version that is taken for one of ours, and never comes to what is too high."""
    assert raise_above(MAX_UNALLOCATED - 1)
    allocated = allocate_version()
    assert MAX_UNALLOCATED < allocated < TOO_HIGH
    assert version_of({"version": allocated}) == allocated
    assert version_of({"version": allocated + 1}) is None
    with connection.cursor() as cursor:
        cursor.execute("SELECT setval('vector_sync_version', %s)", [2 * TOO_HIGH])
    assert version_of({"version": TOO_HIGH}) is None


@pytest.fixture
def restored_sequence() -> Iterator[None]:
    """No rollback sets a sequence back."""
    before = last_allocated()
    yield
    with connection.cursor() as cursor:
        cursor.execute("SELECT setval('vector_sync_version', %s)", [before + 1])


def test_newest__no_other_programs_versions_hide_ours(collection: str) -> None:
    (person,) = people(1)
    for number, version in enumerate((MAX_UNALLOCATED, TOO_HIGH - 1, TOO_HIGH, 2**62)):
        upsert(collection, number, version=version)
    with qdrant() as client:
        assert newest(client, collection, client.get_collection(collection), 1) == [(str(person), last_allocated())]
    check()


def test_highest__of_the_points_of_a_collection(collection: str) -> None:
    with qdrant() as client:
        assert highest(client, collection) == 0
    there = people(3)
    upsert(collection, 5, version="many")
    with qdrant() as client:
        found = client.get_collection(collection)
        assert [UUID(str(point_id)) for point_id, _ in newest(client, collection, found, 2)] == [there[2], there[1]]
        assert highest(client, collection) == last_allocated()


@pytest.mark.qdrant_server
def test_highest__without_an_index(qdrant_server: QdrantServer) -> None:
    initialize()
    people(2)
    with qdrant() as client:
        collection = f"{collection_name()}_v1"
        client.delete_payload_index(collection, "version", wait=True)
        assert highest(client, collection) == last_allocated()


def test_raise_above__never_goes_back() -> None:
    before = last_allocated()
    assert not raise_above(before)
    assert last_allocated() == before
    assert raise_above(before + 10)
    assert last_allocated() == before + 10 + MARGIN
    assert not raise_above(before + 20)


# --- Renewing --------------------------------------------------------------------------------------------------------------------


def test_renew_checkpoint__both_stores_carry_it(collection: str) -> None:
    there = people(2)
    check()
    assert carried(collection) is None and is_checkpoint_due()
    assert renew()
    state = StoreState.current()
    assert carried(collection) == {"id": state.checkpoint["id"], "version": last_allocated(), "at": state.checkpoint["at"]}
    assert state.pending_checkpoint is None and not is_checkpoint_due()
    assert {point_id for point_id, _ in state.checkpoint["newest"][collection]} == {str(person) for person in there}
    check()
    assert renew()
    assert StoreState.current().checkpoint["id"] != state.checkpoint["id"]
    check()


def test_is_checkpoint_due__when_it_is_half_a_minute_old(live: str) -> None:
    renew()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE vector_store_state SET checkpoint_at = clock_timestamp() - interval '29 s'")
        assert not is_checkpoint_due()
        cursor.execute("UPDATE vector_store_state SET checkpoint_at = clock_timestamp() - interval '31 s'")
    assert is_checkpoint_due()


def test_renew_checkpoint__what_was_not_brought_to_its_end_is(live: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed before the collection has it, and killed after: neither is an alarm, and no third checkpoint is begun."""
    people(1)
    renew()
    for killed, at in ((QdrantClient, "update_collection"), (checkpoint, "_confirm")):
        with monkeypatch.context() as patched:
            patched.setattr(killed, at, _killed)
            with pytest.raises(KeyboardInterrupt):
                renew()
        check()
        begun = StoreState.current().pending_checkpoint["id"]
        assert renew()
        assert StoreState.current().checkpoint["id"] == carried(live)["id"] == begun
        check()


def _killed(*_arguments: object, **_options: object) -> None:
    raise KeyboardInterrupt


def test_renew_checkpoint__only_when_it_is_due(live: str) -> None:
    renew()
    before = carried(live)
    with qdrant() as client:
        assert not renew_checkpoint(client)
    assert carried(live) == before and StoreState.current().pending_checkpoint is None


def test_renew_checkpoint__one_that_took_too_long_is_left_to_the_next(live: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "RENEWAL_TIMEOUT_SECONDS", -1)
    assert not renew()
    assert carried(live) is None and StoreState.current().checkpoint is None
    monkeypatch.undo()
    assert renew()


def test_renew_checkpoint__qdrant_says_yes_and_does_not(live: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QdrantClient, "update_collection", lambda *_arguments, **_options: True)
    with pytest.raises(StoreUnavailable) as raised:
        renew()
    assert str(raised.value) == f"Qdrant accepted the checkpoint for {live!r}, but did not store it: check its log, then run it again."


def test_write_checkpoint__a_new_collection_gets_the_checkpoint_that_is_on_its_way(live: str) -> None:
    name = f"{collection_name()}_v2"
    with qdrant() as client:
        client.create_collection(name, vectors_config=models.VectorParams(size=512, distance=models.Distance.COSINE))
        write_checkpoint(client, name)
        assert carried(name) is None  # there is none yet
        renew()
        write_checkpoint(client, name)
        assert carried(name) == carried(live)
        StoreState.objects.update(pending_checkpoint={"id": "p", "version": 0, "at": "now", "newest": {}})
        write_checkpoint(client, name)
        assert carried(name) == {"id": "p", "version": 0, "at": "now"}
        registry.register(name, registry.State.BUILDING, "")
    check()
    renew()
    assert carried(name)["id"] == carried(live)["id"] == StoreState.current().checkpoint["id"]


def test_compare_checkpoints__a_collection_that_is_only_reserved_is_passed_over(live: str) -> None:
    renew()
    registry.register(f"{collection_name()}_v2", registry.State.BUILDING, "")
    check()
    assert renew()


@pytest.mark.qdrant_server
@pytest.mark.django_db(transaction=True)
def test_renew_checkpoint__several_at_once_raise_no_false_alarm(qdrant_server: QdrantServer) -> None:
    initialize()
    people(4)
    wrong: list[Exception] = []
    renewed: list[bool] = []

    def renew_now() -> None:
        with qdrant() as client:
            renewed.append(renew_checkpoint(client))

    def reported(work: Callable[[], object]) -> None:
        try:
            work()
        except StoreUnavailable as error:
            wrong.append(error)

    for _ in range(8):
        StoreState.objects.update(checkpoint_at=None)
        threads = [in_thread(lambda: reported(renew_now)) for _ in range(3)]
        threads += [in_thread(lambda: reported(check)) for _ in range(3)]
        for thread in threads:
            thread.result()
    assert wrong == []
    assert sum(renewed) == 8


# --- PostgreSQL was restored --------------------------------------------------------------------------------------------------------


def test_compare_checkpoints__a_point_from_the_future(collection: str) -> None:
    renew()
    upsert(collection, str(uuid4()), version=last_allocated() + 5)
    assert reason() == (
        f"{collection!r} holds a point of version {last_allocated() + 5}, and PostgreSQL has allocated {last_allocated()} so far: it was restored to an"
        f" older copy, or failed over.{NEXT}"
    )
    with pytest.raises(RestoreDetected):
        renew()


def test_compare_checkpoints__a_checkpoint_from_the_future(live: str) -> None:
    with qdrant() as client:
        client.update_collection(
            live, metadata={"findme_checkpoint": {"id": "x", "version": last_allocated() + 9, "at": "2026-11-23T15:00:00Z"}}
        )
    assert reason() == (
        f"{live!r} has a checkpoint of version {last_allocated() + 9}, and PostgreSQL has allocated {last_allocated()} so far: it was restored to an older copy,"
        f" or failed over.{NEXT}"
    )


@contextmanager
def older_postgres() -> Iterator[Callable[[], None]]:
    """A copy of the test's whole database as it is now; the function goes back to it, as a restore does."""
    name, copy = connection.settings_dict["NAME"], f"{connection.settings_dict['NAME']}_older"
    connection.close()
    _administer("DROP DATABASE IF EXISTS {}", copy)
    _administer("CREATE DATABASE {} TEMPLATE {}", copy, name)

    def restore() -> None:
        connection.close()
        connection.settings_dict["NAME"] = copy

    try:
        yield restore
    finally:
        connection.close()
        connection.settings_dict["NAME"] = name
        _administer("DROP DATABASE {} WITH (FORCE)", copy)


def _administer(statement: str, *names: str) -> None:
    with connection._nodb_cursor() as cursor:
        cursor.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


@pytest.mark.qdrant_server
@pytest.mark.django_db(transaction=True)
def test_compare_checkpoints__postgresql_restored_to_an_older_copy(qdrant_server: QdrantServer) -> None:
    initialize()
    people(2)
    renew()
    with older_postgres() as restore:
        people(1)
        high = last_allocated()
        restore()
        assert User.objects.filter(embedding__isnull=False).count() == 2
        assert reason().startswith(
            f"'{collection_name()}_v1' holds a point of version {high}, and PostgreSQL has allocated {last_allocated()} so far"
        )


@pytest.mark.qdrant_server
@pytest.mark.django_db(transaction=True)
def test_compare_checkpoints__postgresql_restored_and_its_versions_have_caught_up(qdrant_server: QdrantServer) -> None:
    """The checkpoint tells it then."""
    initialize()
    people(2)
    renew()
    before = StoreState.current().checkpoint["at"]
    with older_postgres() as restore:
        people(1)
        renew()
        after = StoreState.current().checkpoint["at"]
        restore()
        raise_above(last_allocated() + 1000)
        assert reason() == (
            f"'{collection_name()}_v1' has the checkpoint of {after}, and PostgreSQL has that of {before}: one of the two was restored to an"
            f" older copy.{NEXT}"
        )


# --- Qdrant was restored ------------------------------------------------------------------------------------------------------------


@pytest.mark.qdrant_server
def test_compare_checkpoints__qdrant_restored_to_an_older_copy_of_its_folder(memory_path: Path, settings: Settings) -> None:
    """Stopped, its folder put back, and started: as an operator goes back to last night's disk."""
    copy = memory_path / "copy"
    with started_qdrant(memory_path) as server:
        settings.QDRANT_URL, settings.QDRANT_GRPC_PORT, settings.QDRANT_COLLECTION = server.url, 0, "people"
        initialize()
        people(2)
        renew()
        before = carried("people_v1")["at"]
    shutil.copytree(memory_path / "storage", copy)
    with started_qdrant(memory_path) as server:
        settings.QDRANT_URL = server.url
        people(1)
        renew()
    shutil.rmtree(memory_path / "storage")
    copy.rename(memory_path / "storage")
    with started_qdrant(memory_path) as server:
        settings.QDRANT_URL = server.url
        assert reason() == (
            f"'people_v1' has the checkpoint of {before}, and PostgreSQL has that of {StoreState.current().checkpoint['at']}: one of the two was"
            f" restored to an older copy.{NEXT}"
        )
        with pytest.raises(RestoreDetected):
            renew()
        with qdrant() as client:
            reset_checkpoint(client)
        check()


def test_compare_checkpoints__the_embedded_folder_put_back(embedded_qdrant: Path) -> None:
    initialize()
    people(2)
    renew()
    shutil.copytree(embedded_qdrant, embedded_qdrant.parent / "copy")
    people(1)
    renew()
    shutil.rmtree(embedded_qdrant)
    (embedded_qdrant.parent / "copy").rename(embedded_qdrant)
    assert "has the checkpoint of" in reason()


@pytest.mark.qdrant_server
def test_compare_checkpoints__a_snapshot_recovered_in_place(memory_path: Path, settings: Settings) -> None:
    """Qdrant leaves the metadata as they are, and the checkpoint with them; the points tell it. Also when others have been written since."""
    with started_qdrant(memory_path) as server:
        settings.QDRANT_URL, settings.QDRANT_GRPC_PORT, settings.QDRANT_COLLECTION = server.url, 0, "people"
        initialize()
        first, second, _ = people(3)
        renew()
        with qdrant() as client:
            snapshot = client.create_snapshot("people_v1")
            assert snapshot is not None
            User.objects.filter(pk=first).update(verified=False)
            sync_users([first])
            renew()
            location = f"file://{memory_path}/snapshots/people_v1/{snapshot.name}".replace(" ", "%20")
            client.recover_snapshot("people_v1", location, priority=models.SnapshotPriority.SNAPSHOT, wait=True)
        User.objects.filter(pk=second).update(verified=False)
        sync_users([second])
        assert (
            reason()
            == f"Points in 'people_v1' are older than at {StoreState.current().checkpoint['at']}, or gone: it was restored to an older copy, or another program"
            f" has deleted or overwritten points.{NEXT}"
        )


# --- What the sentinel points do not take for a restored store --------------------------------------------------------------------


def test_sentinels__are_people(live: str) -> None:
    there, erased = people(2)
    User.objects.filter(pk=erased).delete()
    assert sentinel_points({"a": [(7, 12), (str(erased), 11), (str(there), 10)], "b": []}) == {"a": [(str(there), 10)], "b": []}


def test_compare_checkpoints__the_newest_points_may_go_and_come_back(live: str) -> None:
    there = people(3)
    renew()
    User.objects.filter(pk=there[2]).update(deleted_at="2026-01-01T00:00:00Z")
    sync_users([there[2]])
    User.objects.filter(pk=there[1]).delete()
    sync_users([there[1]])
    check()
    User.objects.filter(pk=there[2]).update(deleted_at=None)
    check()  # it waits on the queue
    sync_users([there[2]])
    check()


def test_compare_checkpoints__a_point_that_is_gone_without_a_reason(live: str) -> None:
    (person,) = people(1)
    renew()
    with qdrant() as client:
        client.delete(live, models.PointIdsList(points=[str(person)]), wait=True)
    enqueue([person])
    check()  # somebody is to look at it anyway
    QueueEntry.objects.all().delete()
    assert reason().startswith(f"Points in {live!r} are older than at ")
    assert "or another program has deleted or overwritten points" in reason()


@pytest.mark.django_db(transaction=True)
def test_compare_checkpoints__a_person_who_is_just_being_removed(live: str) -> None:
    """The point goes first, and the row with the commit."""
    (person,) = people(1)
    renew()
    locked, done = connection.copy(), []
    try:
        with locked.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('findme point of ' || %s::uuid, 0))", [person])
            with qdrant() as client:
                client.delete(live, models.PointIdsList(points=[str(person)]), wait=True)
            check()
            done.append(True)
            cursor.execute("ROLLBACK")
    finally:
        locked.close()
    assert done and reason()


def test_compare_checkpoints__nobody_of_whose_rows_no_point_can_be_made(dates_unchecked: None, live: str) -> None:
    """Their point is deleted, and they are quarantined."""
    there = people(2)
    renew()
    User.objects.filter(pk=there[0]).update(created_at=Func(Value("infinity"), function="CAST", template="%(expressions)s::timestamptz"))
    assert len(sync_users(there[:1]).rejected) == 1
    check()
    QuarantinedUser.objects.all().delete()
    assert reason()


@pytest.mark.django_db(transaction=True)
def test_compare_checkpoints__whose_rows_change_between_the_looks(live: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be said of them: somebody has been at work."""
    (person,) = people(1)
    renew()
    with qdrant() as client:
        client.delete(live, models.PointIdsList(points=[str(person)]), wait=True)
    assert reason()
    older = sentinels_module._older

    def changed_meanwhile(*arguments: Any) -> dict[UUID, int]:
        User.objects.filter(pk=person).update(bio=str(uuid4()))  # which queues nobody
        return older(*arguments)

    monkeypatch.setattr(sentinels_module, "_older", changed_meanwhile)
    check()


def test_compare_checkpoints__a_collection_that_is_being_built(live: str) -> None:
    """Stale points of a restored snapshot are deleted and written again."""
    (person,) = people(1)
    name = f"{collection_name()}_v2"
    with qdrant() as client:
        made(client, name)
        upsert(name, str(person), version=1)
        registry.register(name, registry.State.BUILDING, "")
        renew()
        client.delete(name, models.PointIdsList(points=[str(person)]), wait=True)
    check()
    assert StoreState.current().checkpoint["newest"].keys() == {live}
    VectorCollection.objects.filter(pk=name).update(state=registry.State.READY)
    upsert(name, str(person), version=1)
    assert renew()
    assert StoreState.current().checkpoint["newest"].keys() == {live, name}
    registry.build(name)  # somebody died over it, and somebody else goes on
    with qdrant() as client:
        client.delete(name, models.PointIdsList(points=[str(person)]), wait=True)
    check()


def test_compare_checkpoints__another_collection_of_a_name_that_was_used(live: str) -> None:
    """Of one that is dropped nothing is remembered: the next one gets its number. Nor is what is found in between."""
    (person,) = people(1)
    name = f"{collection_name()}_v2"
    with qdrant() as client:
        made(client, name)
        registry.register(name, registry.State.RETAINED, "")
        upsert(name, str(person), version=last_allocated())
        renew()
        seen = checkpoint._read_states(client, registry.write_targets())
        registry.mark_for_deletion(name)
        client.delete_collection(name)
        registry.remove(name)
        assert StoreState.current().checkpoint["newest"].keys() == {live}
        registry.reserve(name, "")
        made(client, name)
        registry.build(name)
        StoreState.objects.update(checkpoint_at=None)
        assert checkpoint._renew(client, seen, replace=False)
        VectorCollection.objects.filter(pk=name).update(state=registry.State.READY)
    check()


def test_reserve__forgets_what_was_known_of_the_name(live: str) -> None:
    people(1)
    renew()
    StoreState.objects.update(pending_checkpoint=StoreState.current().checkpoint)
    registry.reserve(live, "")
    state = StoreState.current()
    assert (state.checkpoint["newest"], state.pending_checkpoint["newest"]) == ({}, {})


def test_remove_sentinel__an_erased_person_is_no_sentinel_any_more(live: str) -> None:
    there, person = people(2)
    renew()
    StoreState.remove_sentinel(uuid4())
    assert len(StoreState.current().checkpoint["newest"][live]) == 2
    StoreState.objects.update(pending_checkpoint=F("checkpoint"))
    StoreState.remove_sentinel(person)
    state = StoreState.current()
    assert [[point_id for point_id, _ in checkpoint["newest"][live]] for checkpoint in (state.checkpoint, state.pending_checkpoint)] == [
        [str(there)]
    ] * 2
    check()


@pytest.mark.qdrant_server
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("when", ["_store_pending", "_confirm"])
def test_remove_sentinel__whoever_is_erased_while_a_checkpoint_is_on_its_way(
    qdrant_server: QdrantServer, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Looked at before, or announced before: they are not remembered for it."""
    initialize()
    there, person = people(2)
    then = getattr(checkpoint, when)

    def erased_before(*arguments: Any, **options: Any) -> Any:
        in_thread(lambda: erase(person)).result()
        return then(*arguments, **options)

    monkeypatch.setattr(checkpoint, when, erased_before)
    assert renew()
    assert remembered() == {str(there)}
    check()


@pytest.mark.django_db(transaction=True)
def test_remove_sentinel__waits_for_whoever_is_just_remembering_the_person(live: str) -> None:
    (person,) = people(1)
    assert renew()
    newest_points = json.dumps(StoreState.current().checkpoint)
    StoreState.objects.update(checkpoint=None)
    held = connection.copy()
    try:
        with held.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("UPDATE vector_store_state SET checkpoint = %s", [newest_points])
            forgetting = in_thread(lambda: StoreState.remove_sentinel(person))
            wait_until(lambda: forgetting.done() or waits_for_a_row())
            cursor.execute("COMMIT")
        forgetting.result()
    finally:
        held.close()
    assert remembered() == set()


def waits_for_a_row() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'")
        return bool(cursor.fetchone()[0])


@pytest.mark.qdrant_server
@pytest.mark.django_db(transaction=True)
def test_renew_checkpoint__beside_an_erasure_that_waits_for_qdrant(qdrant_server: QdrantServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds no worker up, and whom it erases is not remembered in the end."""
    initialize()
    there, person = people(2)
    assert renew()
    removing, over = threading.Event(), threading.Event()
    remove = inline._remove

    def held_up(*arguments: Any) -> bool:
        removing.set()
        over.wait(60)
        return remove(*arguments)

    monkeypatch.setattr(inline, "_remove", held_up)
    erasing = in_thread(lambda: erase(person))
    try:
        assert removing.wait(60)
        assert renew()
        assert remembered() == {str(there), str(person)}
    finally:
        over.set()
        erasing.result()
    assert remembered() == {str(there)}


@pytest.mark.django_db(transaction=True)
def test_renew_checkpoint__beside_somebody_who_holds_what_is_remembered(live: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is left to the next renewal, without a word: nothing is wrong."""
    confirm, held = checkpoint._confirm, connection.copy()

    def held_up(pending: Any) -> bool:
        with held.cursor() as cursor:
            cursor.execute("BEGIN; SELECT FROM vector_store_state FOR UPDATE")
        return confirm(pending)

    try:
        with monkeypatch.context() as patched:
            patched.setattr(transactions, "LOCK_SECONDS", 1)
            patched.setattr(checkpoint, "_confirm", held_up)
            assert not renew()
    finally:
        held.close()
    assert renew()


def remembered() -> set[str]:
    return {point_id for found in StoreState.current().checkpoint["newest"].values() for point_id, _ in found}
