import signal
import tracemalloc
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from django.db import connection, transaction
from pytest_django import Settings
from qdrant_client import QdrantClient, models

from accounts.age import today
from accounts.models import User
from findme.core.errors import StoreUnavailable, UserFacingError
from tests.factories import ProfileEmbeddingFactory, UserFactory, unit_vector
from tests.qdrant import QdrantServer, freeze, thaw
from tests.support.commands import run_python
from tests.support.threads import in_thread
from tests.support.users import create_synced_users
from vectorstore.catalog import registry
from vectorstore.catalog.ownership import DATABASE, database_id
from vectorstore.consistency.checkpoint import compare_checkpoints, renew_checkpoint
from vectorstore.consistency.versions import MAX_UNALLOCATED, TOO_HIGH, last_allocated
from vectorstore.models import ProfileEmbedding, QuarantinedUser, QueueEntry, StoreState, SyncLease, VectorCollection, Verification
from vectorstore.qdrant import scroll
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.qdrant.errors import CollectionNotFound, RestoreDetected
from vectorstore.queue.entries import ALL_USERS, enqueue
from vectorstore.schema.initialize import initialize
from vectorstore.sync.inline import point_of, sync_users
from vectorstore.verification import merge_join, repair
from vectorstore.verification import verify as verify_module
from vectorstore.verification.verify import Verified, VerifiedCollection, verify

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("no_recheck_delay")]


def change_without_capture(statement: str, *parameters: Any) -> None:
    """Change rows as if the triggers had not captured it."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        cursor.execute("DELETE FROM vector_sync_queue")


def write(name: str, *points: models.PointStruct) -> None:
    with qdrant() as client:
        client.upsert(name, list(points), wait=True)


def change_payload(name: str, user: UUID, **payload: Any) -> None:
    with qdrant() as client:
        client.set_payload(name, payload, points=[str(user)], wait=True)


def delete(name: str, *ids: UUID | int) -> None:
    with qdrant() as client:
        client.delete(name, models.PointIdsList(points=[one if isinstance(one, int) else str(one) for one in ids]), wait=True)


def only(verified: Verified) -> VerifiedCollection:
    (reported,) = verified.collections
    return reported


def kinds(verified: Verified) -> dict[str, int]:
    return {kind: count for kind, count in only(verified).kinds.items() if count}


def work() -> None:
    """Do what ``sync_qdrant --once`` does."""
    while queued := {entry.user_id for entry in QueueEntry.objects.all() if entry.user_id is not None}:
        sync_users(queued)


# --- Differences -----------------------------------------------------------------------------------------------------------------


def test_verify__stores_agree__is_clean(every_live: str) -> None:
    create_synced_users(5)
    ProfileEmbeddingFactory.create(user__staff=True)
    ProfileEmbeddingFactory.create(user__deleted=True)
    UserFactory.create()
    QueueEntry.objects.all().delete()
    verified = verify()
    assert (verified.users, only(verified).points, verified.clean) == (5, 5, True)
    assert (kinds(verified), only(verified).examples, only(verified).pending) == ({}, {}, 0)


def test_verify__no_users__is_clean(every_live: str) -> None:
    assert verify().clean


def test_verify__every_kind_of_difference__is_reported_and_changes_nothing(every_live: str) -> None:
    users = create_synced_users(8, location=None, video_features=[0.1, 1 / 3, 1e-9])
    missing, hidden, staff, unverified, moved, both, *_ = users
    orphan = uuid4()
    delete(every_live, missing)
    change_without_capture("UPDATE users SET deleted_at = now() WHERE id = %s", hidden)
    change_without_capture("UPDATE users SET is_staff = true WHERE id = %s", staff)
    change_without_capture("UPDATE users SET verified = false WHERE id = ANY(%s)", [unverified, both])
    change_without_capture("UPDATE profile_embeddings SET vector = %s WHERE user_id = ANY(%s)", unit_vector(99), [moved, both])
    write(
        every_live,
        models.PointStruct(id=str(orphan), vector=unit_vector(1)),
        *(models.PointStruct(id=number, vector=unit_vector(1)) for number in (7, 2**63)),
    )
    verified = verify()
    reported = only(verified)
    assert kinds(verified) == {"missing": 1, "orphaned": 5, "stale payload": 2, "stale vector": 2}
    assert reported.examples["missing"] == [str(missing)]
    assert set(reported.examples["orphaned"]) == {str(hidden), str(staff), str(orphan), "7", str(2**63)}
    assert set(reported.examples["stale payload"]) == {str(unverified), str(both)}
    assert set(reported.examples["stale vector"]) == {str(moved), str(both)}
    assert (reported.differing, verified.differing, verified.clean, verified.users, reported.points) == (9, 9, False, 6, 10)
    assert QueueEntry.objects.count() == 0


@pytest.mark.at_length(every=4)
@pytest.mark.parametrize(
    "corrupted",
    [
        *(
            {"more": 1},
            {"age": 7},
            {"age": "old"},
            {"interests": []},
            {"location": {"lat": 0.0, "lon": 0.0}},
            {"user_id": str(UUID(int=1))},
        ),
        *({"version": None}, {"version": "7"}, {"version": True}, {"version": 0.5}, {"video_features": [0.25]}, {"age_group": "old"}),
    ],
    ids=str,
)
def test_verify__payload_was_corrupted__is_found_and_repaired(live: str, corrupted: dict[str, Any]) -> None:
    (user,) = create_synced_users(1)
    change_payload(live, user, **corrupted)
    assert kinds(verify()) == {"stale payload": 1}
    verify(repairing=True)
    work()
    assert verify().clean


def test_verify__point_without_a_payload__is_stale(live: str) -> None:
    (user,) = create_synced_users(1)
    write(live, models.PointStruct(id=str(user), vector=ProfileEmbedding.objects.get(pk=user).vector))
    assert kinds(verify()) == {"stale payload": 1}


@pytest.mark.qdrant_server
@pytest.mark.parametrize("by_grpc", [False, True])
def test_verify__vector_of_nan__is_found_and_repaired(qdrant_server_grpc: QdrantServer, settings: Settings, *, by_grpc: bool) -> None:
    """By gRPC a server stores NaN without an error. By REST it then returns ``null``."""
    initialize()
    (user,) = create_synced_users(1)
    point = point_of(user)
    assert point is not None
    write(f"{collection_name()}_v1", models.PointStruct(id=str(user), vector=[np.nan] * 512, payload=point["payload"]))
    settings.QDRANT_GRPC_PORT = qdrant_server_grpc.grpc_port if by_grpc else 0
    assert kinds(verify()) == {"stale vector": 1}
    verify(repairing=True)
    work()
    assert verify().clean


def test_verify__at_most_ten_examples_of_each_kind(live: str) -> None:
    delete(live, *create_synced_users(12))
    reported = only(verify())
    assert (reported.kinds["missing"], len(reported.examples["missing"])) == (12, 10)


def test_verify__many_pages__compares_them_in_the_order_of_ids(every_live: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some pages have more users than points, others more points than users.

    UUIDs whose first byte is above 127 would come first as signed numbers.
    """
    for name in ("PAGE_SIZE", "EMBEDDED_PAGE_SIZE"):
        monkeypatch.setattr(scroll, name, 3)
    monkeypatch.setattr(merge_join, "PAGE_SIZE", 2)
    ids = [UUID(int=(number << 120) + 1) for number in (0, 1, 2, 127, 128, 129, 200, 254, 255)]
    for identifier in ids:
        ProfileEmbeddingFactory.create(user__id=identifier)
    sync_users(ids)
    assert verify().clean
    delete(every_live, *ids[2:6])
    write(every_live, *(models.PointStruct(id=str(UUID(int=(100 << 120) + number)), vector=unit_vector(1)) for number in range(8)))
    write(every_live, *(models.PointStruct(id=number, vector=unit_vector(1)) for number in range(4)))
    assert kinds(verify()) == {"missing": 4, "orphaned": 12}
    delete(every_live, *ids)
    assert kinds(verify()) == {"missing": 9, "orphaned": 12}


@pytest.mark.qdrant_server
def test_verify__several_shards__reads_them_in_one_order(server: QdrantServer, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each shard has its own order, and Qdrant merges them."""
    monkeypatch.setattr(scroll, "PAGE_SIZE", 7)
    settings.QDRANT_SHARD_NUMBER = 3
    initialize()
    collection = f"{collection_name()}_v1"
    users = create_synced_users(40)
    read = [user for page in scroll.pages(collection) for user in page.ids]
    assert read == users
    delete(collection, *users[::5])
    assert kinds(verify()) == {"missing": 8}


def test_verify__compares_every_write_target(live: str) -> None:
    (first, _) = create_synced_users(2)
    retained, building = f"{collection_name()}_v2", f"{collection_name()}_v3"
    with qdrant() as client:
        for name, state in ((retained, registry.State.RETAINED), (building, registry.State.BUILDING)):
            client.create_collection(name, vectors_config=models.VectorParams(size=512, distance=models.Distance.COSINE))
            registry.register(name, state, "")
    write(building, models.PointStruct(id=str(first), vector=unit_vector(1), payload={"version": 1}))
    verified = verify()
    assert [(reported.name, reported.state, reported.differing, reported.pending) for reported in verified.collections] == [
        (live, "live", 0, 0),
        (retained, "retained", 2, 0),
        (building, "building", 1, 1),  # the builder has not written the second user yet
    ]
    registry.register(f"{collection_name()}_v4", registry.State.BUILDING, "")  # Qdrant has no such collection
    assert len(verify().collections) == 3


def retained_collection(count: int) -> str:
    """Create ``count`` users, with points in the live and in a new retained collection."""
    name = f"{collection_name()}_v2"
    with qdrant() as client:
        client.create_collection(
            name, vectors_config=models.VectorParams(size=512, distance=models.Distance.COSINE), metadata={DATABASE: database_id()}
        )
    registry.register(name, registry.State.RETAINED, "")
    create_synced_users(count)
    return name


@pytest.mark.parametrize("before", ["_totals", "_compare", "_repaired"])
def test_verify__retained_collection_dropped_meanwhile__is_skipped(live: str, monkeypatch: pytest.MonkeyPatch, before: str) -> None:
    """As when an idle worker drops an expired collection."""
    name = retained_collection(2)
    original = getattr(verify_module, before)

    def dropped_before(*arguments: Any, **options: Any) -> Any:
        registry.mark_for_deletion(name)
        with qdrant() as client:
            client.delete_collection(name)
        registry.remove(name)
        return original(*arguments, **options)

    monkeypatch.setattr(verify_module, before, dropped_before)
    verified = verify(repairing=True)
    assert ([reported.name for reported in verified.collections], verified.clean) == (
        [live, name] if before == "_repaired" else [live],
        True,
    )


def test_verify__live_collection_replaced_and_dropped_meanwhile__is_reported(live: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = retained_collection(1)
    totals = verify_module._totals

    def dropped_before(*arguments: Any) -> Any:
        with qdrant() as client:
            client.delete_collection(live)
        return totals(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(verify_module, "_totals", dropped_before)
        with pytest.raises(CollectionNotFound) as missing:
            verify()
    assert str(missing.value) == f"Qdrant has no collection {live!r}: make it with manage.py init_qdrant."
    registry.reconcile(name)
    row = VectorCollection.objects.get(pk=live)
    row.state = registry.State.LIVE
    with pytest.raises(StoreUnavailable) as replaced:
        verify_module._check_secondary(row)
    assert str(replaced.value) == f"{live!r} was replaced and dropped during the comparison. Run the command again."


def test_verify__before_init_qdrant__names_it(store: str) -> None:
    with pytest.raises(CollectionNotFound) as raised:
        verify()
    assert str(raised.value) == f"Qdrant has no collection {collection_name()!r}: make it with manage.py init_qdrant."


@pytest.mark.qdrant_server
def test_verify__server_stops_answering_meanwhile__stops_and_records_nothing(
    qdrant_server: QdrantServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    if qdrant_server.pid is None:
        pytest.skip("the server is not ours to stop")
    monkeypatch.setattr(scroll, "PAGE_SIZE", 1)
    initialize()
    create_synced_users(12)
    settings.QDRANT_TIMEOUT = 1
    stopped: list[int] = []

    def stop(done: int, _total: int | None = None, /) -> None:
        if not stopped:
            freeze(qdrant_server)
        stopped.append(done)

    try:
        with pytest.raises(StoreUnavailable, match="did not answer within 1 s"):
            verify(report=stop)
    finally:
        thaw(qdrant_server)
    assert 0 < max(stopped) < 12 and Verification.objects.count() == 0


# --- Pending users ---------------------------------------------------------------------------------------------------------------


def test_verify__users_on_the_queue_or_leased__are_pending(live: str) -> None:
    queued, leased, expired, wrong = create_synced_users(4)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE users SET verified = false")
    QueueEntry.objects.exclude(user_id=queued).delete()
    SyncLease.objects.create(user_id=leased, worker_id=uuid4(), expires_at=datetime.now(UTC) + timedelta(minutes=1))
    SyncLease.objects.create(user_id=expired, worker_id=uuid4(), expires_at=datetime.now(UTC) - timedelta(minutes=1))
    reported = only(verify())
    assert (reported.pending, reported.differing, reported.examples) == (3, 1, {"stale payload": [str(wrong)]})


@pytest.mark.parametrize("what", ["entry", "lease"])
def test_verify__after_a_truncate__all_users_are_pending(live: str, what: str) -> None:
    create_synced_users(2)
    change_without_capture("UPDATE users SET verified = false")
    if what == "entry":
        QueueEntry.objects.create(user_id=None, urgent=True)
    else:
        SyncLease.objects.create(user_id=ALL_USERS, worker_id=uuid4(), expires_at=datetime.now(UTC))
    reported = only(verify())
    assert (reported.pending, reported.differing) == (2, 0)


def test_verify__quarantined_user__is_reported_and_not_queued(live: str) -> None:
    """Qdrant would reject the user again, so a queue entry would not help."""
    (user,) = create_synced_users(1)
    change_without_capture("UPDATE users SET verified = false")
    QuarantinedUser.objects.create(user_id=user, reason="refused", collection=live)
    verified = verify(repairing=True)
    assert (only(verified).quarantined, verified.quarantined, verified.differing, verified.queued, verified.clean) == (1, 1, 0, 0, False)


def years_ago(years: int, days: int = 0) -> date:
    return (today() + timedelta(days=days)).replace(year=(today() + timedelta(days=days)).year - years, day=1)


@pytest.mark.parametrize("corrupted", [{}, {"verified": False}])
def test_verify__age_that_waits_for_the_daily_job__is_pending(live: str, corrupted: dict[str, Any]) -> None:
    """The user has turned thirty a few days ago, and the point still has the old age."""
    ages = StoreState.objects.filter(pk=1)
    (user,) = create_synced_users(1)
    birthday = today() - timedelta(days=3)
    born = date(birthday.year - 30, birthday.month, min(birthday.day, 28))
    change_without_capture("UPDATE users SET date_of_birth = %s", born)
    change_payload(live, user, age=29, age_group="25-34", **corrupted)
    pending = (1, 0) if not corrupted else (0, 1)
    change_without_capture("UPDATE profile_embeddings SET created_at = now() - interval '1 year'")
    for refreshed, expected in [
        (None, pending),
        (today() - timedelta(days=40), pending),
        (today() - timedelta(days=1), (0, 1)),  # the job has run since the birthday, so the age is wrong
    ]:
        ages.update(ages_refreshed_on=refreshed)
        reported = only(verify())
        assert (reported.pending, reported.differing) == expected, refreshed
    ages.update(ages_refreshed_on=today() - timedelta(days=40))
    for wrong in ({"age": 28}, {"age": 31}, {"age": 29, "age_group": "35-44"}):
        change_payload(live, user, **wrong)
        assert only(verify()).differing == 1


def test_verify__age_older_than_the_embedding__is_stale(live: str) -> None:
    """The job has never run, and no point is older than its embedding."""
    (user,) = create_synced_users(1)
    change_payload(live, user, age=(point_of(user) or {})["payload"]["age"] - 1)
    assert kinds(verify()) == {"stale payload": 1}


# --- While writers run -----------------------------------------------------------------------------------------------------------


def during_recheck(monkeypatch: pytest.MonkeyPatch, change: Callable[[], object], *, always: bool = False) -> None:
    """Call ``change`` between reading rows and points, in the first recheck or, with ``always``, in each."""
    original = scroll.points_among
    rechecks = 0

    def meanwhile(*arguments: Any) -> Any:
        nonlocal rechecks
        rechecks += 1
        if rechecks == 1 or always:
            change()
        return original(*arguments)

    monkeypatch.setattr("vectorstore.verification.recheck.WAIT_SECONDS", 0)
    monkeypatch.setattr("vectorstore.verification.recheck.points_among", meanwhile)


def user_without_point(live: str) -> UUID:
    """Return a user without a point, so that there is a recheck."""
    (user,) = create_synced_users(1)
    delete(live, user)
    return user


def test_recheck__user_changed_and_synced_meanwhile__is_clean(live: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row was read before the change and the point after it: they differ, and nothing is wrong."""
    user = user_without_point(live)

    def change() -> None:
        User.objects.filter(pk=user).update(verified=False)
        sync_users([user])

    during_recheck(monkeypatch, change)
    assert verify().clean


@pytest.mark.django_db(transaction=True)  # changes within one transaction cannot be told apart
@pytest.mark.parametrize("statement", ["DELETE FROM users WHERE id = %s", "UPDATE users SET deleted_at = now() WHERE id = %s"])
def test_recheck__user_deleted_meanwhile__is_clean(live: str, monkeypatch: pytest.MonkeyPatch, statement: str) -> None:
    """The row was read before the deletion and the point after it: only reading the row again shows that."""
    user = user_without_point(live)

    def change() -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement, [user])
        sync_users([user])

    during_recheck(monkeypatch, change)
    assert verify().clean


def test_recheck__point_of_a_newer_version__is_pending(live: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user was created and deleted meanwhile: only the point was read, and its version shows that it is new."""
    user = user_without_point(live)
    change_without_capture("UPDATE users SET deleted_at = now() WHERE id = %s", user)
    orphan = uuid4()
    write(live, models.PointStruct(id=str(orphan), vector=unit_vector(1), payload={"version": 1}))

    def change() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT nextval('vector_sync_version')")
        write(live, models.PointStruct(id=str(orphan), vector=unit_vector(1), payload={"version": last_allocated()}))

    during_recheck(monkeypatch, change, always=True)
    reported = only(verify())
    assert (reported.differing, reported.pending) == (0, 1)


@pytest.mark.django_db(transaction=True)
def test_recheck__user_is_being_removed__is_pending(live: str) -> None:
    """A removal deletes the point first, and then the row, holding the user's advisory lock until the commit."""
    (user,) = create_synced_users(1)
    eraser = connection.copy()
    try:
        with eraser.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('findme point of ' || %s::uuid, 0))", [user])
            delete(live, user)
            reported = only(verify())
            cursor.execute("ROLLBACK")
    finally:
        eraser.close()
    assert (reported.pending, reported.differing) == (1, 0)
    assert only(verify()).differing == 1


@pytest.mark.qdrant_server
@pytest.mark.django_db(transaction=True)
def test_verify__while_writers_run__finds_nothing(qdrant_server_grpc: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four threads write and sync, from a fixed seed: they change, delete and restore users all the time."""
    monkeypatch.setattr(scroll, "PAGE_SIZE", 5)
    monkeypatch.setattr(merge_join, "PAGE_SIZE", 4)
    initialize()
    users = create_synced_users(24)
    stop: list[bool] = []

    def change(seed: int) -> None:
        random = np.random.default_rng(seed)
        mine = users[seed::4]
        while not stop:
            user = mine[random.integers(len(mine))]
            match int(random.integers(4)):
                case 0:
                    User.objects.filter(pk=user).update(deleted_at=datetime.now(UTC))
                case 1:
                    User.objects.filter(pk=user).update(deleted_at=None, verified=bool(random.integers(2)))
                case 2:
                    ProfileEmbedding.objects.filter(pk=user).update(vector=unit_vector(int(random.integers(1000))))
                case _:
                    sync_users([user])

    threads = [in_thread(lambda seed=seed: change(seed)) for seed in range(4)]  # type: ignore[misc]  # the default binds the seed of this thread
    try:
        results = [verify() for _ in range(6)]
    finally:
        stop.append(True)
        for thread in threads:
            thread.result()
    assert [(result.differing, result.restore_detected) for result in results] == [(0, None)] * 6
    work()
    assert verify().clean


# --- Repair ----------------------------------------------------------------------------------------------------------------------


def test_repair__queues_users_and_deletes_points_with_numeric_ids(every_live: str) -> None:
    missing, moved, _ = create_synced_users(3)
    orphan = uuid4()
    delete(every_live, missing)
    change_without_capture("UPDATE profile_embeddings SET vector = %s WHERE user_id = %s", unit_vector(99), moved)
    write(every_live, *(models.PointStruct(id=one, vector=unit_vector(1)) for one in (str(orphan), 1, 7)))
    verified = verify(repairing=True)
    assert (verified.queued, verified.deleted) == (3, 2)
    assert set(QueueEntry.objects.values_list("user_id", flat=True)) == {missing, moved, orphan}
    assert only(verify()).pending == 3
    work()
    assert verify().clean
    assert point_of(orphan) is None
    assert np.allclose(point_of(moved)["vector"], unit_vector(99), atol=1e-6)  # type: ignore[index]


def test_repair__no_differences__does_nothing(live: str) -> None:
    create_synced_users(2)
    verified = verify(repairing=True)
    assert (verified.queued, verified.deleted, verified.clean) == (0, 0, True)


@pytest.mark.at_length(every=4)
@pytest.mark.parametrize("version", [MAX_UNALLOCATED, TOO_HIGH - 1, 2**62, 1e300, [1, 2**60]])
def test_repair__unbeatable_version__is_deleted_and_written_again(every_live: str, version: Any) -> None:
    """Every conditional write of the point would fail forever, so it is deleted and written again.

    This includes a user who is on the queue: the worker would fail too.
    """
    users = create_synced_users(2)
    allocated = last_allocated()
    for user in users:
        change_payload(every_live, user, version=version)
    enqueue(users[:1])
    assert kinds(verify()) == {"stale payload": 2}
    verify(repairing=True)
    work()
    assert verify().clean
    for user in users:
        assert allocated < (point_of(user) or {})["payload"]["version"] <= last_allocated() < allocated + 10


def test_repair__over_the_change_limit__is_refused_and_changes_nothing(live: str) -> None:
    delete(live, *create_synced_users(3))
    write(live, models.PointStruct(id=1, vector=unit_vector(1)))
    with pytest.raises(UserFacingError) as raised:
        verify(repairing=True, max_changes=3)
    assert str(raised.value) == (
        "4 points differ and the limit is 3: nothing was changed. Check that DATABASE_URL and QDRANT_URL belong together, then rerun with"
        " --max-changes 4 or --force."
    )
    assert QueueEntry.objects.count() == 0 and only(verify()).differing == 4
    assert verify(repairing=True, max_changes=4).queued == 3
    QueueEntry.objects.all().delete()
    assert verify(repairing=True, max_changes=0, force=True).queued == 3


def test_repair__default_change_limit__is_100_or_5_percent(live: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (repair.MIN_CHANGE_LIMIT, repair.CHANGE_LIMIT_SHARE) == (100, 0.05)
    monkeypatch.setattr(repair, "MIN_CHANGE_LIMIT", 1)
    monkeypatch.setattr(repair, "CHANGE_LIMIT_SHARE", 0.5)
    users = create_synced_users(6)
    delete(live, *users[:2])
    assert verify(repairing=True, after_restore=True).queued == 2
    QueueEntry.objects.all().delete()
    delete(live, users[2])
    with pytest.raises(UserFacingError, match="3 points differ and the limit is 1"):
        verify(repairing=True, after_restore=True)


def test_repair__collection_of_another_database__is_refused(live: str) -> None:
    delete(live, *create_synced_users(1))
    with qdrant() as client:
        client.update_collection(live, metadata={"findme_database": str(uuid4())})
    with pytest.raises(UserFacingError, match=r"belongs to another database .* --adopt"):
        verify(repairing=True)
    assert QueueEntry.objects.count() == 0


@pytest.mark.at_length(every=2)
@pytest.mark.django_db(transaction=True)
def test_repair__killed_meanwhile__can_run_again(live: str) -> None:
    delete(live, *create_synced_users(5))
    script = """
import os, signal
import vectorstore.verification.repair as repairing
from vectorstore.verification.verify import verify
repairing.reset_checkpoint = lambda client: os.kill(os.getpid(), signal.SIGKILL)
verify(repairing=True)
"""
    assert run_python(script)[0] == -signal.SIGKILL
    assert only(verify(repairing=True)).pending == 5
    work()
    assert verify().clean


# --- A restored store ----------------------------------------------------------------------------------------------


def test_repair__postgresql_was_restored__raises_the_version_sequence(every_live: str) -> None:
    """PostgreSQL has not allocated the versions of these points."""
    right, wrong = create_synced_users(2)
    unallocated = last_allocated() + 500
    for user in (right, wrong):
        change_payload(every_live, user, version=unallocated)
    change_without_capture("UPDATE users SET verified = false WHERE id = %s", wrong)
    verified = verify()
    assert (only(verified).unallocated, verified.differing, verified.clean) == (2, 1, False)
    assert verified.restore_detected is not None and verified.restore_detected.startswith(
        f"{every_live!r} holds a point of version {unallocated}"
    )
    with qdrant() as client, pytest.raises(RestoreDetected):
        compare_checkpoints(client)
    repaired = verify(repairing=True)
    assert (repaired.queued, last_allocated() > unallocated) == (1, True)
    with qdrant() as client:
        compare_checkpoints(client)
    work()
    assert verify().clean


def test_repair__raises_the_version_sequence_before_it_queues_users(live: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a worker would allocate a version that is too low, and its write would have no effect."""
    (user,) = create_synced_users(1)
    unallocated = last_allocated() + 500
    change_payload(live, user, version=unallocated, age=7)
    allocated: list[int] = []

    def record_version(queued: Iterable[UUID]) -> int:
        allocated.append(last_allocated())
        return enqueue(queued)

    monkeypatch.setattr("vectorstore.verification.repair.enqueue", record_version)
    verify(repairing=True)
    assert [version > unallocated for version in allocated] == [True]


def test_repair__qdrant_was_restored__resets_the_checkpoints(live: str) -> None:
    """The collection has another checkpoint than PostgreSQL."""
    user, _ = create_synced_users(2)
    with qdrant() as client:
        renew_checkpoint(client)
        client.update_collection(live, metadata={"findme_checkpoint": {"id": "older", "version": 0, "at": "2026-01-01T00:00:00Z"}})
    delete(live, user)
    assert (verify().restore_detected or "").startswith(f"{live!r} has the checkpoint of 2026-01-01T00:00:00Z")
    with pytest.raises(UserFacingError):
        verify(repairing=True, after_restore=True, max_changes=0)
    assert verify().restore_detected is not None
    verify(repairing=True, after_restore=True)
    assert verify().restore_detected is None
    work()
    assert verify().clean


# --- Records, transactions, memory -----------------------------------------------------------------------------------------------


def test_verify__keeps_the_newest_runs(live: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vectorstore.verification.verify.MAX_STORED_RUNS", 2)
    for _ in range(4):
        verify()
    first, second = Verification.objects.order_by("pk")
    assert second.pk == first.pk + 1 and first.pk > 2


def test_verify__stores_counts_and_no_user_id(live: str) -> None:
    user, other = create_synced_users(2)
    delete(live, user)
    verify()
    retained = Verification.objects.get()
    assert (retained.alias, retained.started_at < retained.finished_at or connection.in_atomic_block) == (collection_name(), True)
    assert retained.result == {
        "users": 2,
        "quarantined": 0,
        "restore_detected": False,
        "collections": {
            live: {
                "points": 1,
                "missing": 1,
                "orphaned": 0,
                "stale payload": 0,
                "stale vector": 0,
                "foreign vector": 0,
                "pending": 0,
                "quarantined": 0,
                "unallocated": 0,
                "unique_vectors": 0,
            }
        },
    }
    assert str(user) not in str(retained.result) and str(other) not in str(retained.result)


@pytest.mark.qdrant_server
def test_verify__reading_qdrant__holds_no_transaction_open(qdrant_server: QdrantServer, monkeypatch: pytest.MonkeyPatch) -> None:
    initialize()
    create_synced_users(3)
    original = QdrantClient.scroll
    depth = len(connection.savepoint_ids), transaction.get_connection().in_atomic_block

    def watched(*arguments: Any, **options: Any) -> Any:
        assert (len(connection.savepoint_ids), transaction.get_connection().in_atomic_block) == depth
        return original(*arguments, **options)

    monkeypatch.setattr(scroll, "_read_ahead", lambda pages: pages)
    monkeypatch.setattr(QdrantClient, "scroll", watched)
    assert verify().clean


@pytest.mark.qdrant_server
def test_verify__many_orphans__uses_constant_memory(qdrant_server_grpc: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run keeps differences in memory only until the next recheck."""
    monkeypatch.setattr(scroll, "PAGE_SIZE", 25)
    monkeypatch.setattr(merge_join, "PAGE_SIZE", 25)
    monkeypatch.setattr(merge_join, "RECHECK_AFTER", 100)
    initialize()
    peaks = []
    for orphans in (400, 1600):
        ids = [str(uuid4()) for _ in range(orphans)]
        write(f"{collection_name()}_v1", *(models.PointStruct(id=one, vector=unit_vector(1), payload={"version": 0}) for one in ids))
        verify()
        tracemalloc.start()
        assert verify().differing >= orphans
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0], peaks


def test_verify__reports_its_progress(live: str) -> None:
    """The last total is exact. Earlier ones are PostgreSQL's estimate, from the last ANALYZE."""
    leaving = create_synced_users(8)[:3]
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE profile_embeddings")
    User.objects.filter(pk__in=leaving).delete()
    sync_users(leaving)
    progress: list[tuple[int, int | None]] = []
    verify(report=lambda done, total=None: progress.append((done, total)))
    assert progress[-1] == (5, 5)
