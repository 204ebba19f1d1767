"""Rebuild: a new collection next to the live one takes its place, and a rollback makes the old one live again."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from pytest_django import Settings
from qdrant_client import QdrantClient, models

from accounts.models import User
from findme.core.commands.steps import printed_steps
from findme.core.errors import StoreUnavailable, UserFacingError
from tests.factories import ProfileEmbeddingFactory, unit_vector
from tests.qdrant import QdrantServer
from tests.support.collections import version
from tests.support.commands import stdout_of
from tests.support.threads import in_thread
from tests.vectorstore.rebuild.collections import create_live, differences, existing_versions, live_version, point_ids, states
from vectorstore.catalog import alias, registry
from vectorstore.catalog.alias import reconcile_alias_if_stale, switch_alias
from vectorstore.catalog.lock import lock_key
from vectorstore.models import QuarantinedUser, SyncLease, VectorCollection
from vectorstore.qdrant.connection import collection_name, note_outage, qdrant
from vectorstore.rebuild import acceptance, backfill, recall
from vectorstore.rebuild.acceptance import AcceptanceResult
from vectorstore.rebuild.build import make
from vectorstore.rebuild.reindex import drop_retained, reindex, roll_back
from vectorstore.retention.drop import drop_expired
from vectorstore.schema import apply
from vectorstore.schema.initialize import compare, initialize
from vectorstore.sync.batch import carry_out
from vectorstore.sync.claims import Claim
from vectorstore.sync.leases import LeaseLost, release
from vectorstore.sync.results import BatchResult
from vectorstore.sync.worker import sync_once

pytestmark = pytest.mark.django_db(transaction=True)

WEEK = timedelta(days=7)

output = partial(stdout_of, "reindex_qdrant")


def sync() -> None:
    assert sync_once(timeout=60).remaining.length == 0


# --- Rebuild and rollback --------------------------------------------------------------------------------------------------------


def test_reindex__builds_a_collection_and_makes_it_live(every_store: str) -> None:
    users = create_live(7)
    lines: list[str] = []
    with printed_steps("findme.vectorstore", lines.append):
        result = reindex()
    assert (result.alias, result.collection, result.replaced, result.retained_until) == (collection_name(), version(2), version(1), None)
    assert (result.dropped, result.written) == ((version(1),), 7)
    assert result.acceptance == AcceptanceResult(version(2), users=7, points=7, pending=0, recall=1.0, live_recall=1.0)
    assert (live_version(), states(), existing_versions()) == ("v2", {"v2": "live"}, {"v2"})
    assert (point_ids(2), differences(2)) == (set(map(str, users)), {})
    assert compare().differences == []
    assert lines == [
        f"Created {version(2)}. Workers write it from now on.",
        "7 points written, 0 already existed.",
        f"{version(2)} is accepted: 7 points, recall@10 1.0000 (live: 1.0000).",
        f"The alias {collection_name()} now points to {version(2)}.",
    ]


def test_reindex__with_retain__keeps_the_old_collection_up_to_date_for_rollback(store: str) -> None:
    deleted, changed, _other = create_live(3)
    result = reindex(retain=WEEK)
    assert (states(), existing_versions()) == ({"v1": "retained", "v2": "live"}, {"v1", "v2"})
    assert result.retained_until is not None and abs(result.retained_until - datetime.now(UTC) - WEEK) < timedelta(minutes=1)
    User.objects.filter(pk=deleted).delete()
    User.objects.filter(pk=changed).update(verified=False)
    created = ProfileEmbeddingFactory.create().pk
    sync()
    assert (differences(1), differences(2)) == ({}, {})
    back = roll_back()
    assert (back.collection, back.replaced, live_version(), states()) == (version(1), version(2), "v1", {"v1": "live", "v2": "retained"})
    assert back.retained_until is not None and abs(back.retained_until - result.retained_until) < timedelta(minutes=1)
    assert str(deleted) not in point_ids(1) | point_ids(2)
    assert str(created) in point_ids(1) & point_ids(2)


@pytest.mark.qdrant_server
def test_reindex__creates_payload_indexes_before_the_points(qdrant_server: object, monkeypatch: pytest.MonkeyPatch) -> None:
    create_live(2)
    counts: list[tuple[str, int]] = []
    create_index = apply._index

    def count_first(client: QdrantClient, name: str, field: str) -> None:
        counts.append((name, client.count(name).count))
        create_index(client, name, field)

    monkeypatch.setattr(apply, "_index", count_first)
    reindex()
    assert set(counts) == {(version(2), 0)}
    with qdrant() as client:
        found = client.get_collection(version(2))
        first = client.get_aliases().aliases
    assert {"gender", "age", "interests", "location", "version"} <= set(found.payload_schema)
    assert (found.config.metadata or {})["findme_database"]
    assert first


def test_reindex__repeated__takes_the_next_free_number(embedded_qdrant: object) -> None:
    create_live(1)
    assert [reindex().collection for _ in range(3)] == [version(number) for number in (2, 3, 4)]
    with qdrant() as client:
        client.create_collection(version(9), vectors_config=models.VectorParams(size=4, distance=models.Distance.COSINE))
    assert reindex().collection == version(10)
    assert existing_versions() == {"v9", "v10"}  # v9 is not registered: it may belong to another service


@pytest.mark.qdrant_server
def test_reindex__live_collection_has_another_vector_size__replaces_it(qdrant_server: object) -> None:
    """Workers cannot write any point to such a collection."""
    create_live(0)
    with qdrant() as client:
        client.delete_collection(version(1))
        client.create_collection(version(1), vectors_config=models.VectorParams(size=4, distance=models.Distance.COSINE))
        client.update_collection_aliases(alias._moves(None, version(1)))
    users = [embedding.pk for embedding in ProfileEmbeddingFactory.create_batch(3)]
    result = reindex()
    assert (result.written, result.acceptance) == (
        3,
        AcceptanceResult(version(2), users=3, points=3, pending=0, recall=1.0, live_recall=None),
    )
    assert (live_version(), states(), point_ids(2)) == ("v2", {"v2": "live"}, set(map(str, users)))
    sync()


# --- Retained collections --------------------------------------------------------------------------------------------------------


def test_retained__is_dropped_when_its_retention_is_over(store: str) -> None:
    create_live(1)
    reindex(retain=WEEK)
    assert (drop_expired(), existing_versions()) == ((), {"v1", "v2"})
    VectorCollection.objects.filter(name=version(1)).update(retain_until=datetime.now(UTC))
    assert (drop_expired(), existing_versions(), states()) == ((version(1),), {"v2"}, {"v2": "live"})
    assert drop_expired() == ()


def test_retained__another_process_changes_collections__is_not_dropped(embedded_qdrant: object) -> None:
    create_live(1)
    reindex(retain=WEEK)
    VectorCollection.objects.update(retain_until=datetime.now(UTC))
    found: list[object] = []
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [lock_key()])
        try:
            in_thread(lambda: found.append(drop_expired())).result()
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [lock_key()])
    assert (found, existing_versions()) == ([()], {"v1", "v2"})


def test_retained__alias_points_to_it__is_never_dropped(store: str) -> None:
    """Qdrant would delete the alias too, without an error."""
    create_live(1)
    reindex(retain=WEEK)
    move_alias_by_hand(1)
    VectorCollection.objects.filter(name=version(1)).update(retain_until=datetime.now(UTC))
    assert (drop_expired(), live_version(), states()) == ((), "v1", {"v1": "live", "v2": "retained"})


def test_retained__alias_was_moved_by_hand__stays_until_dropped_by_command(embedded_qdrant: object) -> None:
    create_live(1)
    reindex(retain=WEEK)
    move_alias_by_hand(1)
    with qdrant() as client:
        assert reconcile_alias_if_stale(client)
        assert not reconcile_alias_if_stale(client)
    assert (states(), drop_expired()) == ({"v1": "live", "v2": "retained"}, ())
    assert VectorCollection.objects.get(name=version(2)).retain_until is None
    assert (drop_retained(dry_run=True), existing_versions()) == ((version(2),), {"v1", "v2"})
    assert (drop_retained(), existing_versions(), states()) == ((version(2),), {"v1"}, {"v1": "live"})


def move_alias_by_hand(number: int) -> None:
    with qdrant() as client:
        client.update_collection_aliases(
            [
                models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=collection_name())),
                models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=version(number), alias_name=collection_name())),
            ]
        )


# --- The acceptance check ---------------------------------------------------------------------------------------------------


def make_missing(number: int, user: UUID) -> None:
    with qdrant() as client:
        client.delete(version(number), models.PointIdsList(points=[str(user)]), wait=True)


def make_orphaned(number: int, _user: UUID) -> None:
    with qdrant() as client:
        client.upsert(version(number), [models.PointStruct(id=str(uuid4()), vector=unit_vector(1))], wait=True)


def make_numeric_orphan(number: int, _user: UUID) -> None:
    with qdrant() as client:
        client.upsert(version(number), [models.PointStruct(id=7, vector=unit_vector(1))], wait=True)


def make_stale_payload(number: int, user: UUID) -> None:
    with qdrant() as client:
        client.set_payload(version(number), {"verified": False}, points=[str(user)], wait=True)


def make_stale_vector(number: int, user: UUID) -> None:
    with qdrant() as client:
        client.update_vectors(version(number), [models.PointVectors(id=str(user), vector=unit_vector(1234))])


@pytest.mark.at_length(every=4)
@pytest.mark.parametrize(
    ("make_difference", "what"),
    [
        (make_missing, "1 missing (such as '{user}')"),
        (make_orphaned, "1 orphaned (such as "),
        (make_numeric_orphan, "1 orphaned (such as '7')"),
        (make_stale_payload, "1 stale payload (such as '{user}')"),
        (make_stale_vector, "1 stale vector (such as '{user}')"),
    ],
)
def test_rollback__target_differs_from_postgresql__is_not_accepted(
    store: str, make_difference: Callable[[int, UUID], None], what: str
) -> None:
    user, _ = create_live(2)
    reindex(retain=WEEK)
    make_difference(1, user)
    with pytest.raises(UserFacingError) as raised:
        roll_back()
    assert str(raised.value).startswith(f"{version(1)!r} is not accepted: {what.format(user=user)}")
    assert str(raised.value).endswith("Run manage.py verify_qdrant --repair and manage.py sync_qdrant --once, then run this command again.")
    assert (live_version(), states()) == ("v2", {"v1": "retained", "v2": "live"})


def test_rollback__user_on_the_queue__is_accepted_as_pending(embedded_qdrant: object) -> None:
    user, _ = create_live(2)
    reindex(retain=WEEK)
    User.objects.filter(pk=user).update(verified=False)
    result = roll_back()
    assert result.acceptance is not None and result.acceptance.pending == 1


def test_reindex__recall_below_the_live_collection__is_not_accepted(embedded_qdrant: object, monkeypatch: pytest.MonkeyPatch) -> None:
    create_live(2)
    monkeypatch.setattr(acceptance, "recall", lambda _client, collection, _vectors: 0.9 if collection == version(1) else 0.885)
    with pytest.raises(UserFacingError) as raised:
        reindex()
    assert str(raised.value) == (
        f"{version(2)!r} is not accepted: its recall@10 is 0.8850 and the minimum is 0.8900, 0.01 below the live collection's. The alias was"
        " not moved. Rerun with --min-recall 0.88 to accept it, or drop it with manage.py reindex_qdrant --drop-retained."
    )
    assert (live_version(), states()) == ("v1", {"v1": "live", "v2": "building"})
    with pytest.raises(UserFacingError, match=r"its recall@10 is 0\.8850 and the minimum is 0\.8900\. The alias"):
        reindex(min_recall=0.89)
    result = reindex(min_recall=0.88)  # resumes with the same collection
    assert (result.collection, result.written, live_version()) == (version(2), 0, "v2")
    assert result.acceptance == AcceptanceResult(version(2), users=2, points=2, pending=0, recall=0.885, live_recall=None)


@pytest.mark.qdrant_server
@pytest.mark.parametrize("by_grpc", [False, True])
def test_reindex__live_collection_holds_a_vector_of_nan__is_accepted(
    qdrant_server_grpc: QdrantServer, settings: Settings, *, by_grpc: bool
) -> None:
    """Qdrant returns such a point first in every search, by REST without a score."""
    nan_user, *others = create_live(13)
    with qdrant() as client:
        client.upsert(version(1), [models.PointStruct(id=str(nan_user), vector=[math.nan] * 512, payload={"version": 1})], wait=True)
        settings.QDRANT_GRPC_PORT = qdrant_server_grpc.grpc_port if by_grpc else 0
    with qdrant() as client:
        ((_, found),) = recall._nearest(client, version(1), [(str(others[0]), unit_vector(1))])
        assert len(found) == 10
        assert str(nan_user) not in {point_id for point_id, _ in found}
    accepted = reindex().acceptance
    assert accepted is not None and (accepted.recall, accepted.live_recall) == (1.0, 1.0)


def test_rollback__qdrant_counts_other_points__is_not_accepted(embedded_qdrant: object, monkeypatch: pytest.MonkeyPatch) -> None:
    create_live(2)
    reindex(retain=WEEK)
    monkeypatch.setattr(acceptance, "COUNT_SECONDS", 0.0)
    monkeypatch.setattr(QdrantClient, "count", lambda *_arguments, **_options: models.CountResult(count=5))
    with pytest.raises(UserFacingError, match="Qdrant counts 5 points for 2 users, with 0 still to be written"):
        roll_back()
    assert live_version() == "v2"


# --- Errors ----------------------------------------------------------------------------------------------------------------------


def test_reindex__building_collection_was_dropped__marks_it_failed_and_blocks_no_worker(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_live(3)

    def drop(line: str) -> None:
        if "Created " in line:
            with qdrant() as client:
                client.delete_collection(version(2))

    with (
        pytest.raises(UserFacingError, match=rf"^Qdrant has no collection '{version(2)}'"),
        printed_steps("findme.vectorstore", drop),
    ):
        reindex()
    assert (live_version(), states()) == ("v1", {"v1": "live", "v2": "failed"})
    ProfileEmbeddingFactory.create()
    sync()
    assert differences(1) == {}
    assert (reindex().written, states()) == (4, {"v2": "live"})


def test_reindex__worker_marked_the_building_collection_failed__stops(embedded_qdrant: object) -> None:
    create_live(3)

    def mark_failed(line: str) -> None:
        if "Created " in line:
            registry.mark_failed(version(2), "the disk is full")

    with pytest.raises(UserFacingError) as raised, printed_steps("findme.vectorstore", mark_failed):
        reindex()
    assert str(raised.value) == (
        f"{version(2)!r} was marked as failed: the disk is full. The alias was not moved. Correct the cause, then run this command again: it builds a new collection."
    )
    assert (states(), drop_expired(), existing_versions()) == ({"v1": "live", "v2": "failed"}, (version(2),), {"v1"})


def test_reindex__building_collection_rejects_points__marks_it_failed_and_quarantines_no_user(
    store: str, caplog: pytest.LogCaptureFixture
) -> None:
    create_live(3)

    def replace_by_another_size(line: str) -> None:
        if "Created " in line:
            with qdrant() as client:
                client.delete_collection(version(2))
                client.create_collection(version(2), vectors_config=models.VectorParams(size=4, distance=models.Distance.COSINE))

    with pytest.raises(UserFacingError, match="rejected"), printed_steps("findme.vectorstore", replace_by_another_size):
        reindex()
    assert (live_version(), states(), QuarantinedUser.objects.count()) == ("v1", {"v1": "live", "v2": "failed"}, 0)
    assert [record.getMessage() for record in caplog.records if "marked as failed" in record.getMessage()]


def test_reindex__store_unavailable__waits_until_the_timeout(embedded_qdrant: object, monkeypatch: pytest.MonkeyPatch) -> None:
    create_live(3)
    retrieve = QdrantClient.retrieve
    requests: list[str] = []

    def fail_twice(client: QdrantClient, name: str, *arguments: Any, **options: Any) -> Any:
        requests.append(name)
        if name == version(2) and requests.count(name) <= 2:
            raise StoreUnavailable("Qdrant is restarting.")
        return retrieve(client, name, *arguments, **options)

    monkeypatch.setattr(QdrantClient, "retrieve", fail_twice)
    assert reindex().written == 3

    def fail(*_arguments: object, **_options: object) -> None:
        raise StoreUnavailable("Qdrant is restarting.")

    monkeypatch.setattr(QdrantClient, "retrieve", fail)
    with pytest.raises(StoreUnavailable, match=r"^Qdrant is restarting\.$"):
        reindex(timeout=0.0)


def test_reindex__lease_was_lost__tries_the_users_again(embedded_qdrant: object, monkeypatch: pytest.MonkeyPatch) -> None:
    create_live(3)
    lost_claims: list[Claim] = []

    def lose_the_first_lease(claim: Claim) -> BatchResult:
        if not lost_claims:
            lost_claims.append(claim)
            release(claim, unanswered=True)
            raise LeaseLost
        return carry_out(claim)

    monkeypatch.setattr(backfill, "carry_out", lose_the_first_lease)
    assert (reindex().written, len(lost_claims)) == (3, 1)


def test_switch_alias__collection_was_marked_failed_meanwhile__is_refused(embedded_qdrant: object) -> None:
    create_live(1)
    registry.reserve(version(2), "")
    with qdrant() as client, pytest.raises(UserFacingError, match="was marked as failed while it was being compared"):
        switch_alias(client, version(2), WEEK)
    assert live_version() == "v1"


def test_reindex__building_collection_has_another_definition__starts_again(embedded_qdrant: object) -> None:
    create_live(2)
    with pytest.raises(KeyboardInterrupt), printed_steps("findme.vectorstore", interrupt):
        reindex()
    with qdrant() as client:
        client.upsert(version(2), [models.PointStruct(id=7, vector=unit_vector(1))], wait=True)
    VectorCollection.objects.filter(name=version(2)).update(definition_hash="another release's")
    result = reindex()
    assert (result.written, states(), existing_versions()) == (2, {"v2": "live"}, {"v2"})


def interrupt(_line: str) -> None:
    raise KeyboardInterrupt


def test_reindex__another_worker_holds_a_user__waits_for_the_lease(embedded_qdrant: object, monkeypatch: pytest.MonkeyPatch) -> None:
    held, _, _ = create_live(3)
    SyncLease.objects.create(user_id=held, worker_id=uuid4(), expires_at=datetime.now(UTC) + timedelta(hours=1))
    pauses: list[float] = []

    def release_leases(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            SyncLease.objects.all().delete()

    monkeypatch.setattr("findme.core.waiting.time.sleep", release_leases)
    assert reindex().written == 3
    assert (len(pauses) >= 3, differences(2)) == (True, {})


def test_reindex__another_worker_never_releases_a_user__stops_at_the_timeout(embedded_qdrant: object) -> None:
    held, _ = create_live(2)
    SyncLease.objects.create(user_id=held, worker_id=uuid4(), expires_at=datetime.now(UTC) + timedelta(hours=1))
    with pytest.raises(UserFacingError, match=rf"^Other workers have held 1 user of {version(2)!r} for 0\.5 s"):
        reindex(timeout=0.5)
    assert (live_version(), states()) == ("v1", {"v1": "live", "v2": "building"})
    SyncLease.objects.all().delete()
    assert reindex().written == 1


def test_reindex__another_reindex_is_running__is_refused(embedded_qdrant: object, settings: Settings) -> None:
    create_live(1)
    settings.MIGRATE_WAIT_SECONDS = 0.2
    raised: list[str] = []

    def start_second() -> None:
        with pytest.raises(UserFacingError) as error:
            reindex()
        raised.append(str(error.value))

    with printed_steps("findme.vectorstore", lambda line: in_thread(start_second).result() if "Created " in line else None):
        reindex()
    assert raised == [
        f"Another process has been changing the collections of {collection_name()!r} for 0.2 s: wait for it, then run it again."
    ]


def test_rollback__no_older_collection_is_retained__is_refused(embedded_qdrant: object) -> None:
    create_live(1)
    with pytest.raises(UserFacingError) as raised:
        roll_back()
    assert str(raised.value) == (
        f"{collection_name()!r} points to {version(1)!r} and no older collection is retained. manage.py reindex_qdrant --retain keeps the replaced collection."
    )


def test_rollback__twice__needs_the_name_of_the_newer_collection(embedded_qdrant: object) -> None:
    create_live(1)
    reindex(retain=WEEK)
    roll_back()
    with pytest.raises(UserFacingError) as raised:
        roll_back()
    assert str(raised.value) == (
        f"{collection_name()!r} points to {version(1)!r} and no older collection is retained. Retained: {version(2)!r}. Name one of them after"
        " --rollback."
    )
    with pytest.raises(
        UserFacingError,
        match=rf"^{version(1)!r} is not retained: {collection_name()!r} points to {version(1)!r}\. Retained: {version(2)!r}\. ",
    ):
        roll_back(version(1))
    roll_back(version(2))
    assert (live_version(), states()) == ("v2", {"v1": "retained", "v2": "live"})


@pytest.mark.at_length
def test_rollback__several_collections_are_retained__takes_the_newest(embedded_qdrant: object) -> None:
    create_live(1)
    for _ in range(3):
        reindex(retain=WEEK)
    assert [roll_back().collection for _ in range(2)] == [version(3), version(2)]


def test_rollback__retained_collection_is_gone_from_qdrant__marks_it_failed(embedded_qdrant: object) -> None:
    create_live(1)
    reindex(retain=WEEK)
    with qdrant() as client:
        client.delete_collection(version(1))
    with pytest.raises(UserFacingError, match=r"The retained collection .* is gone from Qdrant"):
        roll_back()
    assert (live_version(), states()) == ("v2", {"v1": "failed", "v2": "live"})


def test_init_qdrant__live_collection_is_gone__makes_the_newest_retained_one_live(store: str) -> None:
    """``init_qdrant``, which every error names, must not create an empty collection then."""
    users = create_live(3)
    reindex(retain=WEEK)
    reindex(retain=WEEK)
    with qdrant() as client:
        client.delete_collection(version(3))
    VectorCollection.objects.filter(name=version(2)).update(retain_until=datetime.now(UTC))
    assert (drop_expired(), existing_versions()) == ((), {"v1", "v2"})
    with pytest.raises(UserFacingError, match=r"make it with manage\.py init_qdrant"):
        roll_back()
    assert compare().collection == version(2)
    initialize()
    assert (live_version(), states(), point_ids(2), compare().differences) == (
        "v2",
        {"v1": "retained", "v2": "live"},
        set(map(str, users)),
        [],
    )
    roll_back()
    assert (live_version(), differences(1)) == ("v1", {})


@pytest.mark.qdrant_server
def test_reindex__live_collection_is_gone_and_the_definition_changed__searches_the_retained_one_meanwhile(
    qdrant_server: object, settings: Settings
) -> None:
    """A rollback and ``init_qdrant`` do not move the alias to a retained collection of another definition."""
    users = create_live(3)
    reindex(retain=WEEK)
    settings.QDRANT_SHARD_NUMBER = 2
    with qdrant() as client:
        client.delete_collection(version(2))
    note_outage()
    with pytest.raises(UserFacingError, match=r"make it with manage\.py init_qdrant"):
        roll_back()
    with pytest.raises(UserFacingError, match=r"with manage\.py reindex_qdrant\.$"):
        initialize()
    assert (live_version(), existing_versions()) == (None, {"v1"})
    assert reindex().replaced == version(1)
    assert (live_version(), states(), existing_versions(), point_ids(2)) == ("v2", {"v2": "live"}, {"v2"}, set(map(str, users)))
    assert compare().differences == []


def test_reindex__killed_after_moving_the_alias_and_old_collection_is_gone__resumes(store: str) -> None:
    """The deleted collection is still registered as live in PostgreSQL."""
    create_live(2)
    with qdrant() as client:
        make(client)
        registry.prepare(version(2), WEEK)
        client.update_collection_aliases(alias._moves(version(1), version(2)))
        client.delete_collection(version(1))
    note_outage()
    assert (reindex().collection, live_version()) == (version(2), "v2")
    assert states()["v2"] == "live"


def test_reindex__no_collection__names_init_qdrant(embedded_qdrant: object) -> None:
    for operation in (reindex, roll_back):
        with pytest.raises(
            UserFacingError, match=r"^Qdrant has no collection 'profile_embeddings': make it with manage\.py init_qdrant\.$"
        ):
            operation()


def test_reindex__live_collection_is_not_registered__is_refused(embedded_qdrant: object) -> None:
    create_live(1)
    VectorCollection.objects.all().delete()
    with pytest.raises(UserFacingError, match=r"which PostgreSQL does not know, so it receives no writes: run manage\.py init_qdrant, "):
        reindex()
    assert existing_versions() == {"v1"}


# --- The command -----------------------------------------------------------------------------------------------------------------


def test_reindex_qdrant__prints_each_step(embedded_qdrant: object, capsys: pytest.CaptureFixture[str]) -> None:
    create_live(2)
    assert output(capsys).splitlines() == [
        f"Created {version(2)}. Workers write it from now on.",
        "2 points written, 0 already existed.",
        f"{version(2)} is accepted: 2 points, recall@10 1.0000 (live: 1.0000).",
        f"The alias {collection_name()} now points to {version(2)}.",
        f"{version(1)} was dropped.",
    ]
    retained = output(capsys, "--retain", "12h").splitlines()[-1]
    assert retained.startswith(f"{version(2)} is retained until 20") and retained.endswith(
        " UTC: reindex_qdrant --rollback makes it live again."
    )
    assert output(capsys, "--rollback").splitlines()[:2] == [
        f"{version(2)} is accepted: 2 points, recall@10 1.0000 (live: 1.0000).",
        f"The alias {collection_name()} now points to {version(2)}.",
    ]
    assert output(capsys, "--rollback", version(3)).splitlines()[1] == f"The alias {collection_name()} now points to {version(3)}."
    assert output(capsys, "--rollback").splitlines()[1] == f"The alias {collection_name()} now points to {version(2)}."
    assert output(capsys, "--drop-retained", "--dry-run") == f"Would be dropped: {version(3)}.\n"
    assert output(capsys, "--drop-retained") == f"Dropped: {version(3)}.\n"
    assert output(capsys, "--drop-retained") == "There is nothing to drop.\n"
    assert json.loads(output(capsys, "--drop-retained", "--json")) == {"dry_run": False, "dropped": [], "unique_vectors": 0}


def test_reindex_qdrant__json__has_the_whole_result(embedded_qdrant: object, capsys: pytest.CaptureFixture[str]) -> None:
    create_live(2)
    assert json.loads(output(capsys, "--json")) == {
        "alias": collection_name(),
        "collection": version(2),
        "replaced": version(1),
        "retained": False,
        "retained_until": None,
        "dropped": [version(1)],
        "written": 2,
        "acceptance": {"collection": version(2), "users": 2, "points": 2, "pending": 0, "recall": 1.0, "live_recall": 1.0},
    }


def test_reindex_qdrant__old_collection_cannot_be_dropped__new_one_is_live(
    embedded_qdrant: object, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    create_live(1)

    def fail(*_arguments: object, **_options: object) -> None:
        raise StoreUnavailable("Qdrant is busy.")

    monkeypatch.setattr(QdrantClient, "delete_collection", fail)
    assert output(capsys).splitlines()[-2:] == [
        "Not every expired collection could be dropped: Qdrant is busy.",
        f"{version(1)} is not dropped yet: an idle worker or the next run drops it.",
    ]
    assert (live_version(), states()) == ("v2", {"v1": "failed", "v2": "live"})


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--retain", "soon"], "Error: argument --retain: 'soon' is not a duration such as 30m, 12h or 7d, of ten years at most"),
        (["--retain", "99999w"], "Error: argument --retain: '99999w' is not a duration such as 30m, 12h or 7d, of ten years at most"),
        (["--min-recall", "97"], "Error: argument --min-recall: '97' is not a number from 0 to 1"),
        (["--min-recall", "nan"], "Error: argument --min-recall: 'nan' is not a number from 0 to 1"),
        (["--rollback", "--drop-retained"], "Error: argument --drop-retained: not allowed with argument --rollback"),
        (["--dry-run"], "--dry-run needs --drop-retained. Add it, or omit --dry-run."),
        (["--drop-retained", "--retain", "1d"], "--retain does not go with --drop-retained."),
        (["--drop-retained", "--min-recall", "0.9"], "--min-recall does not go with --drop-retained."),
        (["--drop-retained", "--timeout", "3"], "--timeout does not go with --drop-retained."),
        (["--rollback", "--timeout", "3"], "--timeout does not go with --rollback."),
    ],
)
def test_reindex_qdrant__invalid_arguments__are_named(arguments: list[str], line: str) -> None:
    with pytest.raises(CommandError) as raised:
        call_command("reindex_qdrant", *arguments)
    assert (str(raised.value), raised.value.returncode) == (line, 2 if line.startswith("--") else raised.value.returncode)
