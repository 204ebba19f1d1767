"""Protocol rule 10: every write target receives every change, a building collection as soon as its row is committed."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from pytest_django import Settings
from qdrant_client import QdrantClient, models

from accounts.models import User
from findme.core.commands.steps import printed_steps
from findme.core.errors import StoreUnavailable, UserFacingError
from tests.factories import ProfileEmbeddingFactory, unit_vector
from tests.support.collections import version
from tests.support.secondary import collections_locked
from tests.support.threads import in_thread
from tests.vectorstore.rebuild.collections import create_live, differences, existing_versions, live_version, point_ids, states
from vectorstore.catalog import alias, registry
from vectorstore.catalog.secondary import fail_secondary
from vectorstore.models import SyncLease, VectorCollection
from vectorstore.qdrant import write
from vectorstore.qdrant.connection import qdrant
from vectorstore.qdrant.errors import CollectionNotFound, RequestRejected
from vectorstore.rebuild import build
from vectorstore.rebuild.build import make, next_name, resume_build, wait_for_graphs
from vectorstore.rebuild.reindex import reindex
from vectorstore.retention import drop as retention
from vectorstore.retention.drop import drop, drop_expired
from vectorstore.retention.housekeeping import Housekeeping
from vectorstore.schema import apply
from vectorstore.sync.worker import sync_once

pytestmark = pytest.mark.django_db(transaction=True)

DAY = timedelta(days=1)


@pytest.fixture
def keep_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep failed collections, which workers would drop."""
    monkeypatch.setattr(Housekeeping, "run", lambda _housekeeping: ())


def make_building() -> str:
    with qdrant() as client:
        return make(client)


def test_building__row_is_committed__workers_write_it(store: str) -> None:
    deleted, changed = create_live(2)
    make_building()
    User.objects.filter(pk=changed).update(verified=False)
    created = ProfileEmbeddingFactory.create().pk
    User.objects.filter(pk=deleted).delete()
    assert sync_once(timeout=60).remaining.length == 0
    assert point_ids(2) == {str(changed), str(created)}
    assert differences(2) == {}


def test_reindex__commits_the_row_before_it_writes_points(embedded_qdrant: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a worker could change a user after the builder has read the row, and skip the new collection."""
    create_live(2)
    observed: list[dict[str, str]] = []
    upsert = QdrantClient.upsert

    def read_states_first(client: QdrantClient, name: str, *arguments: Any, **options: Any) -> Any:
        assert name == version(2)
        in_thread(lambda: observed.append(states())).result()
        return upsert(client, name, *arguments, **options)

    monkeypatch.setattr(QdrantClient, "upsert", read_states_first)
    reindex()
    assert observed == [{"v1": "live", "v2": "building"}]


def test_building__is_gone_from_qdrant__blocks_no_worker(store: str, keep_failed: None) -> None:
    create_live(1)
    name = make_building()
    with qdrant() as client:
        client.delete_collection(name)
    ProfileEmbeddingFactory.create()
    assert sync_once(timeout=60).remaining.length == 0
    assert (states(), differences(1)) == ({"v1": "live", "v2": "failed"}, {})


def test_building__rejects_points__blocks_no_worker(store: str, keep_failed: None) -> None:
    create_live(1)
    with qdrant() as client:
        client.create_collection(version(2), vectors_config=models.VectorParams(size=4, distance=models.Distance.COSINE))
    registry.reserve(version(2), "")
    registry.build(version(2))
    ProfileEmbeddingFactory.create()
    result = sync_once(timeout=60)
    assert (result.remaining.length, result.remaining.quarantined, states(), differences(1)) == (0, 0, {"v1": "live", "v2": "failed"}, {})


def make_ready() -> str:
    """The state after a process was killed between the acceptance check and the move of the alias."""
    name = make_building()
    registry.prepare(name, DAY)
    return name


def test_ready__is_gone_from_qdrant__blocks_no_worker(store: str, keep_failed: None) -> None:
    """A process that is killed just before moving the alias leaves a ready collection that is not searched."""
    create_live(1)
    name = make_ready()
    with qdrant() as client:
        client.delete_collection(name)
    ProfileEmbeddingFactory.create()
    result = sync_once(timeout=60)
    assert (result.remaining.length, result.unavailable, states(), differences(1)) == (0, None, {"v1": "live", "v2": "failed"}, {})


def test_ready__is_gone_while_another_process_may_move_the_alias__blocks_workers_for_the_moment(
    embedded_qdrant: object, keep_failed: None, settings: Settings
) -> None:
    settings.SYNC_RECHECK_SECONDS = 1
    create_live(1)
    name = make_ready()
    with qdrant() as client:
        client.delete_collection(name)
    ProfileEmbeddingFactory.create()
    with collections_locked():
        assert (sync_once(timeout=1).unavailable, states()) == (str(CollectionNotFound(name)), {"v1": "live", "v2": "ready"})
    assert sync_once(timeout=60).remaining.length == 0


def test_ready__alias_points_to_it__is_not_marked_failed(embedded_qdrant: object, keep_failed: None) -> None:
    """The process that moved the alias was killed before it changed the rows."""
    create_live(1)
    name = make_ready()
    with qdrant() as client:
        client.update_collection_aliases(alias._moves(version(1), name))
    with pytest.raises(StoreUnavailable, match="no reason"):
        fail_secondary(name, StoreUnavailable("no reason"))
    assert states() == {"v1": "live", "v2": "ready"}


@pytest.mark.parametrize("is_live", [False, True])
def test_ready__rejects_a_user__is_marked_failed_or_keeps_the_user_queued(
    embedded_qdrant: object, keep_failed: None, monkeypatch: pytest.MonkeyPatch, settings: Settings, *, is_live: bool
) -> None:
    """A collection that is live by now cannot be marked as failed. No user is skipped because of it."""
    settings.SYNC_RECHECK_SECONDS = 0.1
    create_live(0)
    name = make_ready()
    if is_live:
        with qdrant() as client:
            client.update_collection_aliases(alias._moves(version(1), name))
    user = ProfileEmbeddingFactory.create().pk
    upsert = write.upsert

    def reject(client: QdrantClient, collection: str, *arguments: Any) -> None:
        if collection == name:
            raise RequestRejected("Too long.")
        upsert(client, collection, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(write, "upsert", reject)
        result = sync_once(timeout=1)
    assert (result.unavailable, result.remaining.length > 0) == (("Too long.", True) if is_live else (None, False))
    assert states() == {"v1": "live", "v2": "ready" if is_live else "failed"}
    sync_once(timeout=60)
    assert point_ids(2) == ({str(user)} if is_live else set())


def test_reserved__receives_no_writes(embedded_qdrant: object, monkeypatch: pytest.MonkeyPatch) -> None:
    create_live(1)
    written: list[tuple[str, ...]] = []

    def read_write_targets(_row: VectorCollection) -> dict[str, Any]:
        written.append(registry.write_targets())
        return {}

    monkeypatch.setattr(apply, "metadata_of", read_write_targets)
    make_building()
    assert written == [(version(1),)]


def test_next_name__is_above_every_number_in_qdrant_and_the_registry(embedded_qdrant: object) -> None:
    create_live(0)
    registry.reserve(version(4), "")
    with qdrant() as client:
        assert next_name(client) == version(5)
        client.create_collection(version(11), vectors_config=models.VectorParams(size=4, distance=models.Distance.COSINE))
        client.create_collection(f"{version(12)}b", vectors_config=models.VectorParams(size=4, distance=models.Distance.COSINE))
        assert next_name(client) == version(12)


def test_resume_build__collection_is_gone_or_has_another_definition__removes_it(embedded_qdrant: object) -> None:
    create_live(0)
    with qdrant() as client:
        assert resume_build(client) is None
        deleted_collection = make(client)
        client.delete_collection(deleted_collection)
        assert (resume_build(client), states()) == (None, {"v1": "live"})
        other = make(client)
        VectorCollection.objects.filter(name=other).update(definition_hash="of a snapshot")
        assert (resume_build(client), states(), existing_versions()) == (None, {"v1": "live"}, {"v1"})
        name = make(client)
        registry.prepare(name, None)
        assert (resume_build(client), states()["v2"]) == (name, "building")


# --- Rows of collections ---------------------------------------------------------------------------------------------------------


def test_mark_failed__live_or_ready_collection__is_not_changed(embedded_qdrant: object) -> None:
    create_live(0)
    for state, fails in [("building", True), ("retained", True), ("ready", False), ("live", False)]:
        VectorCollection.objects.update(state=state)
        assert (registry.mark_failed(version(1), "the disk is full"), states()["v1"]) == (fails, "failed" if fails else state)


def test_reconcile__in_a_transaction__keeps_its_timeouts(embedded_qdrant: object) -> None:
    """An erasure checks the alias in its own transaction, and may reconcile it there.

    Outside a transaction, the timeouts of ``reconcile`` end a frozen session.
    """
    create_live(0)
    make_building()
    registry.prepare(version(2), DAY)
    names = ("lock_timeout", "idle_in_transaction_session_timeout", "enable_seqscan")
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '1234ms'")
        before = [setting(cursor, name) for name in names]
        assert registry.reconcile(version(2))
        assert [setting(cursor, name) for name in names] == before
    assert states() == {"v1": "retained", "v2": "live"}


def setting(cursor: CursorWrapper, name: str) -> str:
    cursor.execute("SELECT current_setting(%s)", [name])
    return str(cursor.fetchone()[0])


def test_reconcile__collection_had_failed__writes_all_users_again(embedded_qdrant: object, keep_failed: None) -> None:
    """A late request has moved the alias to a failed collection."""
    deleted, changed = create_live(2)
    reindex(retain=DAY)
    registry.mark_failed(version(1), "the disk was full")
    User.objects.filter(pk=deleted).delete()
    assert sync_once(timeout=60).remaining.length == 0
    assert str(deleted) in point_ids(1)
    registry.reconcile(version(1))
    assert sync_once(timeout=60).remaining.length == 0
    assert (point_ids(1), states()) == ({str(changed)}, {"v1": "live", "v2": "retained"})


def test_drop__another_database_has_adopted_the_collection__only_removes_the_row(embedded_qdrant: object) -> None:
    create_live(0)
    reindex(retain=DAY)
    with qdrant() as client:
        client.update_collection(version(1), metadata={"findme_database": "another"})
        drop(client, [version(1)])
    assert (states(), existing_versions()) == ({"v2": "live"}, {"v1", "v2"})


def test_reindex__waits_for_active_leases_before_it_drops_the_old_collection(
    embedded_qdrant: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_live(1)
    observed: list[tuple[str | None, set[str]]] = []

    def hold(line: str) -> None:
        if "now points to" in line:
            SyncLease.objects.create(user_id=uuid4(), worker_id=uuid4(), expires_at=datetime.now(UTC) + DAY)

    def release_leases(_seconds: float) -> None:
        observed.append((live_version(), existing_versions()))
        if len(observed) == 3:
            SyncLease.objects.all().delete()

    monkeypatch.setattr("findme.core.waiting.time.sleep", release_leases)
    with printed_steps("findme.vectorstore", hold):
        reindex()
    assert observed == 3 * [("v2", {"v1", "v2"})]
    assert existing_versions() == {"v2"}


def test_reindex__run_was_killed_after_moving_the_alias__waits_for_active_leases_too(
    embedded_qdrant: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_live(1)
    name = make_ready()
    registry.rows().filter(state="live").update(retain_until=datetime.now(UTC))
    with qdrant() as client:
        client.update_collection_aliases(alias._moves(version(1), name))
    SyncLease.objects.create(user_id=uuid4(), worker_id=uuid4(), expires_at=datetime.now(UTC) + DAY)
    observed: list[set[str]] = []

    def release_leases(_seconds: float) -> None:
        observed.append(existing_versions())
        SyncLease.objects.all().delete()

    monkeypatch.setattr("findme.core.waiting.time.sleep", release_leases)
    result = reindex()
    assert (result.collection, result.replaced, result.dropped, result.acceptance) == (name, version(1), (version(1),), None)
    assert (observed, existing_versions()) == ([{"v1", "v2"}], {"v2"})


def test_drop__alias_is_moved_to_the_collection_meanwhile__keeps_it_and_writes_it_again(
    embedded_qdrant: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator or a late request moves it. The collection has missed changes, so all users are written again."""
    deleted, changed = create_live(2)
    reindex(retain=DAY)

    def move_alias_meanwhile(client: QdrantClient, name: str) -> bool:
        operations = alias._moves(version(2), name)
        client.update_collection_aliases(operations)
        User.objects.filter(pk=deleted).delete()
        return False

    monkeypatch.setattr(retention, "is_foreign", move_alias_meanwhile)
    with qdrant() as client:
        assert drop(client, [version(1)]) == ()
    assert (live_version(), states()) == ("v1", {"v1": "failed", "v2": "live"})
    sync_once(timeout=60)
    sync_once(timeout=60)
    assert (states(), point_ids(1)) == ({"v1": "live", "v2": "retained"}, {str(changed)})


# --- Housekeeping by workers -----------------------------------------------------------------------------------------------------


def test_housekeeping__reconciles_the_alias_and_drops_expired_collections(embedded_qdrant: object) -> None:
    create_live(1)
    reindex(retain=DAY)
    VectorCollection.objects.filter(state="live").update(state="ready")
    VectorCollection.objects.filter(state="retained").update(state="live", retain_until=datetime.now(UTC))
    housekeeping = Housekeeping()
    assert housekeeping.run() == (version(1),)
    assert (live_version(), states(), existing_versions()) == ("v2", {"v2": "live"}, {"v2"})
    registry.reserve(version(3), "")
    assert (housekeeping.run(), Housekeeping().run(), states()) == ((), (version(3),), {"v2": "live"})


def test_housekeeping__qdrant_unavailable__drops_later(embedded_qdrant: object, settings: Settings) -> None:
    create_live(0)
    registry.reserve(version(3), "")
    path, settings.QDRANT_PATH = settings.QDRANT_PATH, "/dev/null/qdrant"
    housekeeping = Housekeeping()
    assert housekeeping.run() == ()
    settings.QDRANT_PATH = path
    assert (housekeeping.run(), Housekeeping().run()) == ((), (version(3),))


def test_sync_once__drops_expired_collections_at_the_end(embedded_qdrant: object) -> None:
    create_live(0)
    reindex(retain=DAY)
    VectorCollection.objects.filter(state="retained").update(retain_until=datetime.now(UTC))
    sync_once(timeout=60)
    assert (states(), existing_versions()) == ({"v2": "live"}, {"v2"})


def test_drop_expired__nothing_has_expired__does_not_connect_to_qdrant(embedded_qdrant: object, monkeypatch: pytest.MonkeyPatch) -> None:
    create_live(0)
    monkeypatch.setattr("vectorstore.retention.drop.qdrant", lambda: pytest.fail("asked"))
    assert drop_expired() == ()


@pytest.mark.qdrant_server
def test_verify_collection__vector_of_nan__is_stale(qdrant_server_grpc: object) -> None:
    """By gRPC a server stores NaN without an error."""
    (user,) = create_live(1)
    with qdrant() as client:
        vector = [float("nan"), *unit_vector(1)[1:]]
        client.update_vectors(version(1), [models.PointVectors(id=str(user), vector=vector)])
    assert differences(1) == {"stale vector": 1}


def test_drop__alias_points_to_the_collection__keeps_it(store: str) -> None:
    """Qdrant would delete the alias too, so the rows do not decide."""
    create_live(0)
    registry.rows().update(state="retained")
    with qdrant() as client:
        assert drop(client, [version(1)]) == ()
    assert (live_version(), states(), existing_versions()) == ("v1", {"v1": "retained"}, {"v1"})


def test_wait_for_graphs__progress_within_the_timeout__waits_longer(embedded_qdrant: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph of a large segment takes longer than the timeout. Until it is complete, the collection does not show it."""
    create_live(1)
    started_at = time.monotonic()
    vectors = count()

    def status(*_arguments: object) -> str:
        time.sleep(0.01)
        return "yellow" if time.monotonic() < started_at + 0.5 else "green"

    monkeypatch.setattr(build, "wait_until_green", status)
    monkeypatch.setattr(build, "running_optimizations", lambda *_arguments: str(next(vectors)))
    wait_for_graphs(version(1), 0.2)


@pytest.mark.qdrant_server
def test_running_optimizations__graph_is_being_built__shows_its_progress(qdrant_server: object) -> None:
    vectors = np.random.default_rng(4).standard_normal((2000, 512))
    with qdrant() as client:
        client.create_collection(
            version(1),
            vectors_config=models.VectorParams(size=512, distance=models.Distance.COSINE),
            hnsw_config=models.HnswConfigDiff(m=32, ef_construct=500, full_scan_threshold=10),
            optimizers_config=models.OptimizersConfigDiff(indexing_threshold=10**6, default_segment_number=1),
        )
        for start in range(0, len(vectors), 500):
            ids = list(range(start, start + 500))
            client.upsert(version(1), models.Batch(ids=[*ids], vectors=vectors[ids].tolist()), wait=True)
        assert build.running_optimizations(client, version(1)) == "[]"
        client.update_collection(version(1), optimizers_config=models.OptimizersConfigDiff(indexing_threshold=100))
        progress: set[str] = set()
        deadline = time.monotonic() + 60
        while not client.get_collection(version(1)).indexed_vectors_count and time.monotonic() < deadline:
            progress.add(build.running_optimizations(client, version(1)))
    assert len(progress - {"[]"}) > 1


def test_wait_for_graphs__no_progress_within_the_timeout__is_reported(embedded_qdrant: object, monkeypatch: pytest.MonkeyPatch) -> None:
    create_live(1)
    monkeypatch.setattr("vectorstore.rebuild.build.wait_until_green", lambda *_arguments: "yellow")
    with pytest.raises(UserFacingError) as raised:
        wait_for_graphs(version(1), 0.1)
    assert str(raised.value) == (
        f"Qdrant has made no progress on {version(1)!r} for 0.1 s (status yellow). The alias was not moved. Check Qdrant's log, then run this command again:"
        " it resumes."
    )
