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
from pytest_django import Settings
from qdrant_client import QdrantClient, models

from accounts.models import User
from findme.core.errors import StoreUnavailable
from privacy.actions.erase import erase
from tests.factories import unit_vector
from tests.qdrant import QdrantServer, started_qdrant
from tests.support.restored import administer
from tests.support.threads import in_thread
from tests.support.users import create_users
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

NEXT_STEP = " Nothing is written until you run manage.py verify_qdrant --repair."


def create_synced_one_by_one(count: int) -> list[UUID]:
    """Create users with points of ascending versions."""
    user_ids = create_users(count)
    for user_id in user_ids:
        sync_users([user_id])
    return user_ids


def renew() -> bool:
    """Renew the checkpoint, due or not."""
    StoreState.objects.update(checkpoint_at=None)
    with qdrant() as client:
        return renew_checkpoint(client)


def check() -> None:
    with qdrant() as client:
        compare_checkpoints(client)


def restore_message() -> str:
    with pytest.raises(RestoreDetected) as raised:
        check()
    return str(raised.value)


def stored_checkpoint(name: str) -> Any:
    with qdrant() as client:
        return (client.get_collection(name).config.metadata or {}).get("findme_checkpoint")


def upsert(name: str, point_id: int | str, **payload: Any) -> None:
    with qdrant() as client:
        client.upsert(name, [models.PointStruct(id=point_id, vector=unit_vector(1), payload=payload)], wait=True)


def create(client: QdrantClient, name: str) -> None:
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
def test_version_of__version_that_no_worker_can_write__is_none(payload: dict[str, Any] | None, version: int | None) -> None:
    assert version_of(payload) == version


def test_version_of__sequence_raised_by_foreign_versions__stays_below_the_limit(sequence_reset: None) -> None:
    """The sequence continues above the highest version that counts as ours.

    It never reaches a version that is too high.
    """
    assert raise_above(MAX_UNALLOCATED - 1)
    allocated = allocate_version()
    assert MAX_UNALLOCATED < allocated < TOO_HIGH
    assert version_of({"version": allocated}) == allocated
    assert version_of({"version": allocated + 1}) is None
    with connection.cursor() as cursor:
        cursor.execute("SELECT setval('vector_sync_version', %s)", [2 * TOO_HIGH])
    assert version_of({"version": TOO_HIGH}) is None


@pytest.fixture
def sequence_reset() -> Iterator[None]:
    """Set the sequence back after the test: no rollback does that."""
    before = last_allocated()
    yield
    with connection.cursor() as cursor:
        cursor.execute("SELECT setval('vector_sync_version', %s)", [before + 1])


def test_newest__versions_of_another_program__are_ignored(every_live: str) -> None:
    (user_id,) = create_synced_one_by_one(1)
    for number, version in enumerate((MAX_UNALLOCATED, TOO_HIGH - 1, TOO_HIGH, 2**62)):
        upsert(every_live, number, version=version)
    with qdrant() as client:
        assert newest(client, every_live, client.get_collection(every_live), 1) == [(str(user_id), last_allocated())]
    check()


def test_highest__returns_the_highest_version_of_the_collection(every_live: str) -> None:
    with qdrant() as client:
        assert highest(client, every_live) == 0
    user_ids = create_synced_one_by_one(3)
    upsert(every_live, 5, version="many")
    with qdrant() as client:
        info = client.get_collection(every_live)
        assert [UUID(str(point_id)) for point_id, _ in newest(client, every_live, info, 2)] == [user_ids[2], user_ids[1]]
        assert highest(client, every_live) == last_allocated()


@pytest.mark.qdrant_server
def test_highest__without_an_index__returns_the_highest_version(qdrant_server: QdrantServer) -> None:
    initialize()
    create_synced_one_by_one(2)
    with qdrant() as client:
        collection = f"{collection_name()}_v1"
        client.delete_payload_index(collection, "version", wait=True)
        assert highest(client, collection) == last_allocated()


def test_raise_above__never_lowers_the_sequence() -> None:
    before = last_allocated()
    assert not raise_above(before)
    assert last_allocated() == before
    assert raise_above(before + 10)
    assert last_allocated() == before + 10 + MARGIN
    assert not raise_above(before + 20)


# --- Renewal ---------------------------------------------------------------------------------------------------------------------


def test_renew_checkpoint__both_stores_have_it(every_live: str) -> None:
    user_ids = create_synced_one_by_one(2)
    check()
    assert stored_checkpoint(every_live) is None and is_checkpoint_due()
    assert renew()
    state = StoreState.current()
    assert stored_checkpoint(every_live) == {"id": state.checkpoint["id"], "version": last_allocated(), "at": state.checkpoint["at"]}
    assert state.pending_checkpoint is None and not is_checkpoint_due()
    assert {point_id for point_id, _ in state.checkpoint["newest"][every_live]} == {str(user_id) for user_id in user_ids}
    check()
    assert renew()
    assert StoreState.current().checkpoint["id"] != state.checkpoint["id"]
    check()


def test_is_checkpoint_due__older_than_30_seconds__is_due(live: str) -> None:
    renew()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE vector_store_state SET checkpoint_at = clock_timestamp() - interval '29 s'")
        assert not is_checkpoint_due()
        cursor.execute("UPDATE vector_store_state SET checkpoint_at = clock_timestamp() - interval '31 s'")
    assert is_checkpoint_due()


def test_renew_checkpoint__interrupted__next_renewal_completes_it(live: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process was killed before or after the collection had the checkpoint.

    No restore is reported, and no third checkpoint begins.
    """
    create_synced_one_by_one(1)
    renew()
    for owner, method in ((QdrantClient, "update_collection"), (checkpoint, "_confirm")):
        with monkeypatch.context() as patched:
            patched.setattr(owner, method, _interrupt)
            with pytest.raises(KeyboardInterrupt):
                renew()
        check()
        begun_checkpoint = StoreState.current().pending_checkpoint["id"]
        assert renew()
        assert StoreState.current().checkpoint["id"] == stored_checkpoint(live)["id"] == begun_checkpoint
        check()


def _interrupt(*_arguments: object, **_options: object) -> None:
    raise KeyboardInterrupt


def test_renew_checkpoint__not_due__does_nothing(live: str) -> None:
    renew()
    before = stored_checkpoint(live)
    with qdrant() as client:
        assert not renew_checkpoint(client)
    assert stored_checkpoint(live) == before and StoreState.current().pending_checkpoint is None


def test_renew_checkpoint__took_too_long__is_left_to_the_next_renewal(live: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "RENEWAL_TIMEOUT_SECONDS", -1)
    assert not renew()
    assert stored_checkpoint(live) is None and StoreState.current().checkpoint is None
    monkeypatch.undo()
    assert renew()


def test_renew_checkpoint__accepted_but_not_stored__fails(live: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QdrantClient, "update_collection", lambda *_arguments, **_options: True)
    with pytest.raises(StoreUnavailable) as raised:
        renew()
    assert str(raised.value) == f"Qdrant accepted the checkpoint for {live!r}, but did not store it: check its log, then run it again."


def test_write_checkpoint__new_collection__gets_the_pending_checkpoint(live: str) -> None:
    name = f"{collection_name()}_v2"
    with qdrant() as client:
        client.create_collection(name, vectors_config=models.VectorParams(size=512, distance=models.Distance.COSINE))
        write_checkpoint(client, name)
        assert stored_checkpoint(name) is None  # there is no checkpoint yet
        renew()
        write_checkpoint(client, name)
        assert stored_checkpoint(name) == stored_checkpoint(live)
        StoreState.objects.update(pending_checkpoint={"id": "p", "version": 0, "at": "now", "newest": {}})
        write_checkpoint(client, name)
        assert stored_checkpoint(name) == {"id": "p", "version": 0, "at": "now"}
        registry.register(name, registry.State.BUILDING, "")
    check()
    renew()
    assert stored_checkpoint(name)["id"] == stored_checkpoint(live)["id"] == StoreState.current().checkpoint["id"]


def test_compare_checkpoints__reserved_collection__is_skipped(live: str) -> None:
    renew()
    registry.register(f"{collection_name()}_v2", registry.State.BUILDING, "")
    check()
    assert renew()


@pytest.mark.qdrant_server
@pytest.mark.django_db(transaction=True)
def test_renew_checkpoint__concurrent_renewals__report_no_restore(qdrant_server: QdrantServer) -> None:
    initialize()
    create_synced_one_by_one(4)
    errors: list[Exception] = []
    renewed: list[bool] = []

    def renew_now() -> None:
        with qdrant() as client:
            renewed.append(renew_checkpoint(client))

    def collect_errors(work: Callable[[], object]) -> None:
        try:
            work()
        except StoreUnavailable as error:
            errors.append(error)

    for _ in range(8):
        StoreState.objects.update(checkpoint_at=None)
        threads = [in_thread(lambda: collect_errors(renew_now)) for _ in range(3)]
        threads += [in_thread(lambda: collect_errors(check)) for _ in range(3)]
        for thread in threads:
            thread.result()
    assert errors == []
    assert sum(renewed) == 8


# --- PostgreSQL was restored --------------------------------------------------------------------------------------------------------


def test_compare_checkpoints__point_with_an_unallocated_version__reports_a_restore(every_live: str) -> None:
    renew()
    upsert(every_live, str(uuid4()), version=last_allocated() + 5)
    assert restore_message() == (
        f"{every_live!r} holds a point of version {last_allocated() + 5}, and PostgreSQL has allocated {last_allocated()} so far: it was restored to an"
        f" older copy, or failed over.{NEXT_STEP}"
    )
    with pytest.raises(RestoreDetected):
        renew()


def test_compare_checkpoints__checkpoint_with_an_unallocated_version__reports_a_restore(live: str) -> None:
    with qdrant() as client:
        client.update_collection(
            live, metadata={"findme_checkpoint": {"id": "x", "version": last_allocated() + 9, "at": "2026-11-23T15:00:00Z"}}
        )
    assert restore_message() == (
        f"{live!r} has a checkpoint of version {last_allocated() + 9}, and PostgreSQL has allocated {last_allocated()} so far: it was restored to an older copy,"
        f" or failed over.{NEXT_STEP}"
    )


@contextmanager
def older_postgres() -> Iterator[Callable[[], None]]:
    """Copy the whole test database. The yielded function switches to the copy, like a restore."""
    name, copy = connection.settings_dict["NAME"], f"{connection.settings_dict['NAME']}_older"
    connection.close()
    administer("DROP DATABASE IF EXISTS {}", copy)
    administer("CREATE DATABASE {} TEMPLATE {}", copy, name)

    def restore() -> None:
        connection.close()
        connection.settings_dict["NAME"] = copy

    try:
        yield restore
    finally:
        connection.close()
        connection.settings_dict["NAME"] = name
        administer("DROP DATABASE {} WITH (FORCE)", copy)


@pytest.mark.qdrant_server
@pytest.mark.django_db(transaction=True)
def test_compare_checkpoints__postgresql_restored__is_reported(qdrant_server: QdrantServer) -> None:
    initialize()
    create_synced_one_by_one(2)
    renew()
    with older_postgres() as restore:
        create_synced_one_by_one(1)
        high = last_allocated()
        restore()
        assert User.objects.filter(embedding__isnull=False).count() == 2
        assert restore_message().startswith(
            f"'{collection_name()}_v1' holds a point of version {high}, and PostgreSQL has allocated {last_allocated()} so far"
        )


@pytest.mark.qdrant_server
@pytest.mark.django_db(transaction=True)
def test_compare_checkpoints__postgresql_restored_and_versions_caught_up__is_reported(qdrant_server: QdrantServer) -> None:
    """Then only the checkpoint shows it."""
    initialize()
    create_synced_one_by_one(2)
    renew()
    before = StoreState.current().checkpoint["at"]
    with older_postgres() as restore:
        create_synced_one_by_one(1)
        renew()
        after = StoreState.current().checkpoint["at"]
        restore()
        raise_above(last_allocated() + 1000)
        assert restore_message() == (
            f"'{collection_name()}_v1' has the checkpoint of {after}, and PostgreSQL has that of {before}: one of the two was restored to an"
            f" older copy.{NEXT_STEP}"
        )


# --- Qdrant was restored ------------------------------------------------------------------------------------------------------------


@pytest.mark.qdrant_server
def test_compare_checkpoints__qdrant_folder_restored__is_reported(memory_path: Path, settings: Settings) -> None:
    """Stop the server, restore its folder and start it, as an operator does with a backup of the disk."""
    copy = memory_path / "copy"
    with started_qdrant(memory_path) as server:
        settings.QDRANT_URL, settings.QDRANT_GRPC_PORT, settings.QDRANT_COLLECTION = server.url, 0, "users"
        initialize()
        create_synced_one_by_one(2)
        renew()
        before = stored_checkpoint("users_v1")["at"]
    shutil.copytree(memory_path / "storage", copy)
    with started_qdrant(memory_path) as server:
        settings.QDRANT_URL = server.url
        create_synced_one_by_one(1)
        renew()
    shutil.rmtree(memory_path / "storage")
    copy.rename(memory_path / "storage")
    with started_qdrant(memory_path) as server:
        settings.QDRANT_URL = server.url
        assert restore_message() == (
            f"'users_v1' has the checkpoint of {before}, and PostgreSQL has that of {StoreState.current().checkpoint['at']}: one of the two was"
            f" restored to an older copy.{NEXT_STEP}"
        )
        with pytest.raises(RestoreDetected):
            renew()
        with qdrant() as client:
            reset_checkpoint(client)
        check()


def test_compare_checkpoints__embedded_folder_restored__is_reported(embedded_qdrant: Path) -> None:
    initialize()
    create_synced_one_by_one(2)
    renew()
    shutil.copytree(embedded_qdrant, embedded_qdrant.parent / "copy")
    create_synced_one_by_one(1)
    renew()
    shutil.rmtree(embedded_qdrant)
    (embedded_qdrant.parent / "copy").rename(embedded_qdrant)
    assert "has the checkpoint of" in restore_message()


@pytest.mark.qdrant_server
def test_compare_checkpoints__snapshot_recovered_in_place__is_reported(memory_path: Path, settings: Settings) -> None:
    """Qdrant keeps the metadata with the checkpoint, so only the points show it.

    This also holds after later writes of other points.
    """
    with started_qdrant(memory_path) as server:
        settings.QDRANT_URL, settings.QDRANT_GRPC_PORT, settings.QDRANT_COLLECTION = server.url, 0, "users"
        initialize()
        first, second, _ = create_synced_one_by_one(3)
        renew()
        with qdrant() as client:
            snapshot = client.create_snapshot("users_v1")
            assert snapshot is not None
            User.objects.filter(pk=first).update(verified=False)
            sync_users([first])
            renew()
            location = f"file://{memory_path}/snapshots/users_v1/{snapshot.name}".replace(" ", "%20")
            client.recover_snapshot("users_v1", location, priority=models.SnapshotPriority.SNAPSHOT, wait=True)
        User.objects.filter(pk=second).update(verified=False)
        sync_users([second])
        assert (
            restore_message()
            == f"Points in 'users_v1' are older than at {StoreState.current().checkpoint['at']}, or gone: it was restored to an older copy, or another program"
            f" has deleted or overwritten points.{NEXT_STEP}"
        )


# --- Sentinel points that show no restore -----------------------------------------------------------------------------------------


def test_sentinel_points__are_points_of_users(live: str) -> None:
    kept, erased = create_synced_one_by_one(2)
    User.objects.filter(pk=erased).delete()
    assert sentinel_points({"a": [(7, 12), (str(erased), 11), (str(kept), 10)], "b": []}) == {"a": [(str(kept), 10)], "b": []}


def test_compare_checkpoints__sentinels_deleted_and_written_again__passes(live: str) -> None:
    user_ids = create_synced_one_by_one(3)
    renew()
    User.objects.filter(pk=user_ids[2]).update(deleted_at="2026-01-01T00:00:00Z")
    sync_users([user_ids[2]])
    User.objects.filter(pk=user_ids[1]).delete()
    sync_users([user_ids[1]])
    check()
    User.objects.filter(pk=user_ids[2]).update(deleted_at=None)
    check()  # the user is queued
    sync_users([user_ids[2]])
    check()


def test_compare_checkpoints__sentinel_missing_without_a_reason__reports_a_restore(live: str) -> None:
    (user_id,) = create_synced_one_by_one(1)
    renew()
    with qdrant() as client:
        client.delete(live, models.PointIdsList(points=[str(user_id)]), wait=True)
    enqueue([user_id])
    check()  # a queued user is written anyway
    QueueEntry.objects.all().delete()
    assert restore_message().startswith(f"Points in {live!r} are older than at ")
    assert "or another program has deleted or overwritten points" in restore_message()


@pytest.mark.django_db(transaction=True)
def test_compare_checkpoints__sentinel_being_removed__passes(live: str) -> None:
    """The point is deleted first, and the row at the commit."""
    (user_id,) = create_synced_one_by_one(1)
    renew()
    other, done = connection.copy(), []
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('findme point of ' || %s::uuid, 0))", [user_id])
            with qdrant() as client:
                client.delete(live, models.PointIdsList(points=[str(user_id)]), wait=True)
            check()
            done.append(True)
            cursor.execute("ROLLBACK")
    finally:
        other.close()
    assert done and restore_message()


def test_compare_checkpoints__sentinel_in_quarantine__passes(dates_unchecked: None, live: str) -> None:
    """The user's rows make no valid point, so the point is deleted and the user is quarantined."""
    user_ids = create_synced_one_by_one(2)
    renew()
    User.objects.filter(pk=user_ids[0]).update(created_at=Func(Value("infinity"), function="CAST", template="%(expressions)s::timestamptz"))
    assert len(sync_users(user_ids[:1]).rejected) == 1
    check()
    QuarantinedUser.objects.all().delete()
    assert restore_message()


@pytest.mark.django_db(transaction=True)
def test_compare_checkpoints__rows_change_during_the_comparison__passes(live: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison cannot judge users whose rows have just changed."""
    (user_id,) = create_synced_one_by_one(1)
    renew()
    with qdrant() as client:
        client.delete(live, models.PointIdsList(points=[str(user_id)]), wait=True)
    assert restore_message()
    older = sentinels_module._older

    def change_user_first(*arguments: Any) -> dict[UUID, int]:
        User.objects.filter(pk=user_id).update(bio=str(uuid4()))  # this queues no user
        return older(*arguments)

    monkeypatch.setattr(sentinels_module, "_older", change_user_first)
    check()


def test_compare_checkpoints__building_collection__has_no_sentinels(live: str) -> None:
    """A restore deletes stale points of the snapshot and writes them again."""
    (user_id,) = create_synced_one_by_one(1)
    name = f"{collection_name()}_v2"
    with qdrant() as client:
        create(client, name)
        upsert(name, str(user_id), version=1)
        registry.register(name, registry.State.BUILDING, "")
        renew()
        client.delete(name, models.PointIdsList(points=[str(user_id)]), wait=True)
    check()
    assert StoreState.current().checkpoint["newest"].keys() == {live}
    VectorCollection.objects.filter(pk=name).update(state=registry.State.READY)
    upsert(name, str(user_id), version=1)
    assert renew()
    assert StoreState.current().checkpoint["newest"].keys() == {live, name}
    registry.build(name)  # a process was killed, and another one resumes the build
    with qdrant() as client:
        client.delete(name, models.PointIdsList(points=[str(user_id)]), wait=True)
    check()


def test_compare_checkpoints__new_collection_under_a_used_name__passes(live: str) -> None:
    """The sentinels of a dropped collection are removed, because the next one gets its name.

    A renewal in between does not store them again.
    """
    (user_id,) = create_synced_one_by_one(1)
    name = f"{collection_name()}_v2"
    with qdrant() as client:
        create(client, name)
        registry.register(name, registry.State.RETAINED, "")
        upsert(name, str(user_id), version=last_allocated())
        renew()
        seen = checkpoint._read_states(client, registry.write_targets())
        registry.mark_for_deletion(name)
        client.delete_collection(name)
        registry.remove(name)
        assert StoreState.current().checkpoint["newest"].keys() == {live}
        registry.reserve(name, "")
        create(client, name)
        registry.build(name)
        StoreState.objects.update(checkpoint_at=None)
        assert checkpoint._renew(client, seen, replace=False)
        VectorCollection.objects.filter(pk=name).update(state=registry.State.READY)
    check()


def test_reserve__removes_the_sentinels_of_the_name(live: str) -> None:
    create_synced_one_by_one(1)
    renew()
    StoreState.objects.update(pending_checkpoint=StoreState.current().checkpoint)
    registry.reserve(live, "")
    state = StoreState.current()
    assert (state.checkpoint["newest"], state.pending_checkpoint["newest"]) == ({}, {})


def test_remove_sentinel__erased_user__is_no_longer_a_sentinel(live: str) -> None:
    kept, user_id = create_synced_one_by_one(2)
    renew()
    StoreState.remove_sentinels([uuid4()])
    assert len(StoreState.current().checkpoint["newest"][live]) == 2
    StoreState.objects.update(pending_checkpoint=F("checkpoint"))
    StoreState.remove_sentinels([user_id])
    state = StoreState.current()
    assert [[point_id for point_id, _ in checkpoint["newest"][live]] for checkpoint in (state.checkpoint, state.pending_checkpoint)] == [
        [str(kept)]
    ] * 2
    check()


@pytest.mark.qdrant_server
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("step", ["_store_pending", "_confirm"])
def test_remove_sentinel__erased_during_a_renewal__is_not_stored(
    qdrant_server: QdrantServer, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The renewal has already read the user's point, or stored it as pending.

    The new checkpoint does not contain it.
    """
    initialize()
    kept, user_id = create_synced_one_by_one(2)
    original = getattr(checkpoint, step)

    def erase_first(*arguments: Any, **options: Any) -> Any:
        in_thread(lambda: erase(user_id)).result()
        return original(*arguments, **options)

    monkeypatch.setattr(checkpoint, step, erase_first)
    assert renew()
    assert sentinel_ids() == {str(kept)}
    check()


@pytest.mark.django_db(transaction=True)
def test_remove_sentinel__row_locked_by_a_renewal__waits(live: str) -> None:
    (user_id,) = create_synced_one_by_one(1)
    assert renew()
    newest_points = json.dumps(StoreState.current().checkpoint)
    StoreState.objects.update(checkpoint=None)
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("UPDATE vector_store_state SET checkpoint = %s", [newest_points])
            removal = in_thread(lambda: StoreState.remove_sentinels([user_id]))
            wait_until(lambda: removal.done() or is_waiting_for_a_row())
            cursor.execute("COMMIT")
        removal.result()
    finally:
        other.close()
    assert sentinel_ids() == set()


def is_waiting_for_a_row() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)"
            " WHERE datname = current_database() AND NOT granted AND locktype = 'transactionid'"
        )
        return bool(cursor.fetchone()[0])


@pytest.mark.qdrant_server
@pytest.mark.django_db(transaction=True)
def test_renew_checkpoint__erasure_waits_for_qdrant__renews_and_then_forgets_the_user(
    qdrant_server: QdrantServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The erasure blocks no worker, and at its end the erased user is no sentinel."""
    initialize()
    kept, user_id = create_synced_one_by_one(2)
    assert renew()
    started, over = threading.Event(), threading.Event()
    remove = inline._remove

    def wait_then_remove(*arguments: Any) -> bool:
        started.set()
        over.wait(60)
        return remove(*arguments)

    monkeypatch.setattr(inline, "_remove", wait_then_remove)
    erasure = in_thread(lambda: erase(user_id))
    try:
        assert started.wait(60)
        assert renew()
        assert sentinel_ids() == {str(kept), str(user_id)}
    finally:
        over.set()
        erasure.result()
    assert sentinel_ids() == {str(kept)}


@pytest.mark.django_db(transaction=True)
def test_renew_checkpoint__row_locked_by_another_process__is_left_to_the_next_renewal(live: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is logged, because this is no error."""
    confirm, other = checkpoint._confirm, connection.copy()

    def lock_row_and_confirm(pending: Any) -> bool:
        with other.cursor() as cursor:
            cursor.execute("BEGIN; SELECT FROM vector_store_state FOR UPDATE")
        return confirm(pending)

    try:
        with monkeypatch.context() as patched:
            patched.setattr(transactions, "LOCK_SECONDS", 1)
            patched.setattr(checkpoint, "_confirm", lock_row_and_confirm)
            assert not renew()
    finally:
        other.close()
    assert renew()


def sentinel_ids() -> set[str]:
    return {point_id for points in StoreState.current().checkpoint["newest"].values() for point_id, _ in points}
