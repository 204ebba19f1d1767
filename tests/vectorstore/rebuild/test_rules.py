"""Protocol, rule 10: every collection that is written gets every change, the one that is built from the moment its row is committed."""

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
from tests.support.threads import in_thread
from tests.vectorstore.rebuild.collections import begun, ids, leads_to, states, there, version, wrong
from tests.vectorstore.secondary import collections_locked
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
def untidy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers leave what failed where it is, so that it can be looked at."""
    monkeypatch.setattr(Housekeeping, "run", lambda _housekeeping: ())


def a_building_one() -> str:
    with qdrant() as client:
        return make(client)


def test_building__is_written_by_every_worker_from_the_commit_of_its_row_on(store: str) -> None:
    leaving, staying = begun(2)
    a_building_one()
    User.objects.filter(pk=staying).update(verified=False)
    coming = ProfileEmbeddingFactory.create().pk
    User.objects.filter(pk=leaving).delete()
    assert sync_once(timeout=60).remaining.length == 0
    assert ids(2) == {str(staying), str(coming)}
    assert wrong(2) == {}


def test_building__is_filled_only_after_its_row_is_committed(embedded_qdrant: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that does not know of it would change a person after the builder has read them."""
    begun(2)
    seen: list[dict[str, str]] = []
    upsert = QdrantClient.upsert

    def looked_at_from_elsewhere(client: QdrantClient, name: str, *arguments: Any, **options: Any) -> Any:
        assert name == version(2)
        in_thread(lambda: seen.append(states())).result()
        return upsert(client, name, *arguments, **options)

    monkeypatch.setattr(QdrantClient, "upsert", looked_at_from_elsewhere)
    reindex()
    assert seen == [{"v1": "live", "v2": "building"}]


def test_building__that_is_gone_holds_no_worker_up(store: str, untidy: None) -> None:
    begun(1)
    name = a_building_one()
    with qdrant() as client:
        client.delete_collection(name)
    ProfileEmbeddingFactory.create()
    assert sync_once(timeout=60).remaining.length == 0
    assert (states(), wrong(1)) == ({"v1": "live", "v2": "failed"}, {})


def test_building__that_refuses_holds_no_worker_up(store: str, untidy: None) -> None:
    begun(1)
    with qdrant() as client:
        client.create_collection(version(2), vectors_config=models.VectorParams(size=4, distance=models.Distance.COSINE))
    registry.reserve(version(2), "")
    registry.build(version(2))
    ProfileEmbeddingFactory.create()
    done = sync_once(timeout=60)
    assert (done.remaining.length, done.remaining.quarantined, states(), wrong(1)) == (0, 0, {"v1": "live", "v2": "failed"}, {})


def a_ready_one() -> str:
    """The state after a process was killed between the acceptance check and the move of the alias."""
    name = a_building_one()
    assert registry.prepare(name, DAY)
    return name


def test_ready__that_is_gone_holds_no_worker_up(store: str, untidy: None) -> None:
    """Whoever is killed just before the alias is moved leaves it beside the live one, and nobody searches it."""
    begun(1)
    name = a_ready_one()
    with qdrant() as client:
        client.delete_collection(name)
    ProfileEmbeddingFactory.create()
    done = sync_once(timeout=60)
    assert (done.remaining.length, done.unavailable, states(), wrong(1)) == (0, None, {"v1": "live", "v2": "failed"}, {})


def test_ready__that_is_gone_while_somebody_may_be_moving_the_alias_to_it(
    embedded_qdrant: object, untidy: None, settings: Settings
) -> None:
    settings.SYNC_RECHECK_SECONDS = 1
    begun(1)
    name = a_ready_one()
    with qdrant() as client:
        client.delete_collection(name)
    ProfileEmbeddingFactory.create()
    with collections_locked():
        assert (sync_once(timeout=1).unavailable, states()) == (str(CollectionNotFound(name)), {"v1": "live", "v2": "ready"})
    assert sync_once(timeout=60).remaining.length == 0


def test_ready__that_is_searched_is_not_marked_failed(embedded_qdrant: object, untidy: None) -> None:
    """Whoever moved the alias did not live to write it down."""
    begun(1)
    name = a_ready_one()
    with qdrant() as client:
        client.update_collection_aliases(alias._moves(version(1), name))
    with pytest.raises(StoreUnavailable, match="no reason"):
        fail_secondary(name, StoreUnavailable("no reason"))
    assert states() == {"v1": "live", "v2": "ready"}


@pytest.mark.parametrize("searched", [False, True])
def test_ready__that_refuses_somebody_is_marked_failed_or_they_stay_queued(
    embedded_qdrant: object, untidy: None, monkeypatch: pytest.MonkeyPatch, settings: Settings, *, searched: bool
) -> None:
    """A collection that is live by now cannot be marked as failed. No user is skipped because of it."""
    settings.SYNC_RECHECK_SECONDS = 0.1
    begun(0)
    name = a_ready_one()
    if searched:
        with qdrant() as client:
            client.update_collection_aliases(alias._moves(version(1), name))
    person = ProfileEmbeddingFactory.create().pk
    upsert = write.upsert

    def refusing(client: QdrantClient, collection: str, *arguments: Any) -> None:
        if collection == name:
            raise RequestRejected("Too long.")
        upsert(client, collection, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(write, "upsert", refusing)
        done = sync_once(timeout=1)
    assert (done.unavailable, done.remaining.length > 0) == (("Too long.", True) if searched else (None, False))
    assert states() == {"v1": "live", "v2": "ready" if searched else "failed"}
    sync_once(timeout=60)
    assert ids(2) == ({str(person)} if searched else set())


def test_building__one_that_was_only_reserved_is_written_by_nobody(embedded_qdrant: object, monkeypatch: pytest.MonkeyPatch) -> None:
    begun(1)
    written: list[tuple[str, ...]] = []

    def looked_at(_row: VectorCollection) -> dict[str, Any]:
        written.append(registry.write_targets())
        return {}

    monkeypatch.setattr(apply, "metadata_of", looked_at)
    a_building_one()
    assert written == [(version(1),)]


def test_next_name__is_one_more_than_any_in_qdrant_or_in_the_registry(embedded_qdrant: object) -> None:
    begun(0)
    registry.reserve(version(4), "")
    with qdrant() as client:
        assert next_name(client) == version(5)
        client.create_collection(version(11), vectors_config=models.VectorParams(size=4, distance=models.Distance.COSINE))
        client.create_collection(f"{version(12)}b", vectors_config=models.VectorParams(size=4, distance=models.Distance.COSINE))
        assert next_name(client) == version(12)


def test_go_on_with__one_that_is_gone_or_was_made_of_something_else_is_forgotten(embedded_qdrant: object) -> None:
    begun(0)
    with qdrant() as client:
        assert resume_build(client) is None
        gone = make(client)
        client.delete_collection(gone)
        assert (resume_build(client), states()) == (None, {"v1": "live"})
        other = make(client)
        VectorCollection.objects.filter(name=other).update(definition_hash="of a snapshot")
        assert (resume_build(client), states(), there()) == (None, {"v1": "live"}, {"v1"})
        name = make(client)
        registry.prepare(name, None)
        assert (resume_build(client), states()["v2"]) == (name, "building")


# --- The rows --------------------------------------------------------------------------------------------------------------------


def test_mark_failed__only_what_nobody_searches(embedded_qdrant: object) -> None:
    begun(0)
    for state, fails in [("building", True), ("retained", True), ("ready", False), ("live", False)]:
        VectorCollection.objects.update(state=state)
        assert (registry.mark_failed(version(1), "the disk is full"), states()["v1"]) == (fails, "failed" if fails else state)


def test_reconcile__in_a_callers_transaction_leaves_it_its_timeouts(embedded_qdrant: object) -> None:
    """An erasure proves the alias, and may be the one who follows it; alone, whoever is frozen over it is thrown out."""
    begun(0)
    a_building_one()
    registry.prepare(version(2), DAY)
    names = ("lock_timeout", "idle_in_transaction_session_timeout", "enable_seqscan")
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '1234ms'")
        before = [reported(cursor, name) for name in names]
        assert registry.reconcile(version(2))
        assert [reported(cursor, name) for name in names] == before
    assert states() == {"v1": "retained", "v2": "live"}


def reported(cursor: CursorWrapper, name: str) -> str:
    cursor.execute("SELECT current_setting(%s)", [name])
    return str(cursor.fetchone()[0])


def test_reconcile__what_nobody_wrote_for_a_while_is_written_again(embedded_qdrant: object, untidy: None) -> None:
    """The alias leads to a collection that was marked as failed: a request to move it that came late."""
    leaving, staying = begun(2)
    reindex(retain=DAY)
    registry.mark_failed(version(1), "the disk was full")
    User.objects.filter(pk=leaving).delete()
    assert sync_once(timeout=60).remaining.length == 0
    assert str(leaving) in ids(1)
    registry.reconcile(version(1))
    assert sync_once(timeout=60).remaining.length == 0
    assert (ids(1), states()) == ({str(staying)}, {"v1": "live", "v2": "retained"})


def test_drop__leaves_what_another_database_has_taken_over(embedded_qdrant: object) -> None:
    begun(0)
    reindex(retain=DAY)
    with qdrant() as client:
        client.update_collection(version(1), metadata={"findme_database": "another"})
        drop(client, [version(1)])
    assert (states(), there()) == ({"v2": "live"}, {"v1", "v2"})


def test_reindex__drops_the_old_one_when_nobody_writes_it_as_the_live_one_any_more(
    embedded_qdrant: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(1)
    seen: list[tuple[str | None, set[str]]] = []

    def hold(line: str) -> None:
        if "leads to" in line:
            SyncLease.objects.create(user_id=uuid4(), worker_id=uuid4(), expires_at=datetime.now(UTC) + DAY)

    def release_leases(_seconds: float) -> None:
        seen.append((leads_to(), there()))
        if len(seen) == 3:
            SyncLease.objects.all().delete()

    monkeypatch.setattr("findme.core.waiting.time.sleep", release_leases)
    with printed_steps("findme.vectorstore", hold):
        reindex()
    assert seen == 3 * [("v2", {"v1", "v2"})]
    assert there() == {"v2"}


def test_drop__an_alias_that_is_moved_meanwhile(embedded_qdrant: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand, or by a request that came late. What was not written for a while is searched then: it is written again."""
    leaving, staying = begun(2)
    reindex(retain=DAY)

    def moved(client: QdrantClient, name: str) -> bool:
        operations = alias._moves(version(2), name)
        client.update_collection_aliases(operations)
        User.objects.filter(pk=leaving).delete()
        return False

    monkeypatch.setattr(retention, "_is_foreign", moved)
    with qdrant() as client:
        assert drop(client, [version(1)]) == ()
    assert (leads_to(), states()) == ("v1", {"v1": "failed", "v2": "live"})
    sync_once(timeout=60)
    sync_once(timeout=60)
    assert (states(), ids(1)) == ({"v1": "live", "v2": "retained"}, {str(staying)})


# --- What workers see to ---------------------------------------------------------------------------------------------------------


def test_tidy__follows_the_alias_and_drops_what_is_due(embedded_qdrant: object) -> None:
    begun(1)
    reindex(retain=DAY)
    VectorCollection.objects.filter(state="live").update(state="ready")
    VectorCollection.objects.filter(state="retained").update(state="live", retain_until=datetime.now(UTC))
    housekeeping = Housekeeping()
    assert housekeeping.run() == (version(1),)
    assert (leads_to(), states(), there()) == ("v2", {"v2": "live"}, {"v2"})
    registry.reserve(version(3), "")
    assert (housekeeping.run(), Housekeeping().run(), states()) == ((), (version(3),), {"v2": "live"})


def test_tidy__where_qdrant_cannot_be_reached_leaves_it_for_later(embedded_qdrant: object, settings: Settings) -> None:
    begun(0)
    registry.reserve(version(3), "")
    path, settings.QDRANT_PATH = settings.QDRANT_PATH, "/dev/null/qdrant"
    housekeeping = Housekeeping()
    assert housekeeping.run() == ()
    settings.QDRANT_PATH = path
    assert (housekeeping.run(), Housekeeping().run()) == ((), (version(3),))


def test_sync_once__drops_what_is_due_at_its_end(embedded_qdrant: object) -> None:
    begun(0)
    reindex(retain=DAY)
    VectorCollection.objects.filter(state="retained").update(retain_until=datetime.now(UTC))
    sync_once(timeout=60)
    assert (states(), there()) == ({"v2": "live"}, {"v2"})


def test_drop_due__asks_qdrant_nothing_where_nothing_is_due(embedded_qdrant: object, monkeypatch: pytest.MonkeyPatch) -> None:
    begun(0)
    monkeypatch.setattr("vectorstore.retention.drop.qdrant", lambda: pytest.fail("asked"))
    assert drop_expired() == ()


@pytest.mark.qdrant_server
def test_acceptance__sees_a_vector_of_nan(qdrant_server_grpc: object) -> None:
    """By gRPC a server stores it."""
    (person,) = begun(1)
    with qdrant() as client:
        vector = [float("nan"), *unit_vector(1)[1:]]
        client.update_vectors(version(1), [models.PointVectors(id=str(person), vector=vector)])
    assert wrong(1) == {"stale vector": 1}


def test_drop__never_what_the_alias_leads_to(store: str) -> None:
    """Whatever the rows say: Qdrant would delete the alias with it."""
    begun(0)
    registry.rows().update(state="retained")
    with qdrant() as client:
        assert drop(client, [version(1)]) == ()
    assert (leads_to(), states(), there()) == ("v1", {"v1": "retained"}, {"v1"})


def test_wait_for_graphs__as_long_as_something_gets_on(embedded_qdrant: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph of a large segment takes longer than the timeout, and until it is done the collection itself shows nothing of it."""
    begun(1)
    begun_at = time.monotonic()
    vectors = count()

    def built(*_arguments: object) -> str:
        time.sleep(0.01)
        return "yellow" if time.monotonic() < begun_at + 0.5 else "green"

    monkeypatch.setattr(build, "wait_until_green", built)
    monkeypatch.setattr(build, "running_optimizations", lambda *_arguments: str(next(vectors)))
    wait_for_graphs(version(1), 0.2)


@pytest.mark.qdrant_server
def test_at_work__tells_of_a_graph_that_is_being_built_how_far_it_is(qdrant_server: object) -> None:
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
        reported: set[str] = set()
        deadline = time.monotonic() + 60
        while not client.get_collection(version(1)).indexed_vectors_count and time.monotonic() < deadline:
            reported.add(build.running_optimizations(client, version(1)))
    assert len(reported - {"[]"}) > 1


def test_wait_for_graphs__says_when_nothing_gets_on(embedded_qdrant: object, monkeypatch: pytest.MonkeyPatch) -> None:
    begun(1)
    monkeypatch.setattr("vectorstore.rebuild.build.wait_until_green", lambda *_arguments: "yellow")
    with pytest.raises(UserFacingError) as raised:
        wait_for_graphs(version(1), 0.1)
    assert str(raised.value) == (
        f"Qdrant has made no progress on {version(1)!r} for 0.1 s (status yellow): the alias was not moved. Check Qdrant's log, then run this command again:"
        " it resumes."
    )
