"""A collection built beside the live one, and put in its place."""

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
from tests.support.commands import stdout_of
from tests.support.threads import in_thread
from tests.vectorstore.rebuild.collections import begun, ids, leads_to, states, there, version, wrong
from vectorstore.catalog import alias, registry
from vectorstore.catalog.alias import reconcile_alias_if_stale, switch_alias
from vectorstore.catalog.lock import lock_key
from vectorstore.consistency import preflight
from vectorstore.models import QuarantinedUser, SyncLease, VectorCollection
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.rebuild import acceptance, backfill, recall
from vectorstore.rebuild.acceptance import AcceptanceResult
from vectorstore.rebuild.build import make
from vectorstore.rebuild.reindex import Reindexed, drop_retained, reindex, roll_back
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


def rebuilt(**options: Any) -> Reindexed:
    return reindex(**options)


def sync() -> None:
    assert sync_once(timeout=60).remaining.length == 0


# --- The whole way ---------------------------------------------------------------------------------------------------------------


def test_reindex__takes_the_place_of_the_live_one(every_store: str) -> None:
    people = begun(7)
    said: list[str] = []
    with printed_steps("findme.vectorstore", said.append):
        done = reindex()
    assert (done.alias, done.collection, done.replaced, done.retained_until) == (collection_name(), version(2), version(1), None)
    assert (done.dropped, done.written) == ((version(1),), 7)
    assert done.acceptance == AcceptanceResult(version(2), users=7, points=7, pending=0, recall=1.0, live_recall=1.0)
    assert (leads_to(), states(), there()) == ("v2", {"v2": "live"}, {"v2"})
    assert (ids(2), wrong(2)) == (set(map(str, people)), {})
    assert compare().differences == []
    assert said == [
        f"Created {version(2)}. Workers write it from now on.",
        "7 points written, 0 already existed.",
        f"{version(2)} is accepted: 7 points, recall@10 1.0000 (live: 1.0000).",
        f"{collection_name()} leads to {version(2)}.",
    ]


def test_reindex__keeps_the_old_one_up_to_date_and_goes_back_to_it(store: str) -> None:
    leaving, changing, _staying = begun(3)
    done = rebuilt(retain=WEEK)
    assert (states(), there()) == ({"v1": "retained", "v2": "live"}, {"v1", "v2"})
    assert done.retained_until is not None and abs(done.retained_until - datetime.now(UTC) - WEEK) < timedelta(minutes=1)
    User.objects.filter(pk=leaving).delete()
    User.objects.filter(pk=changing).update(verified=False)
    coming = ProfileEmbeddingFactory.create().pk
    sync()
    assert (wrong(1), wrong(2)) == ({}, {})
    back = roll_back()
    assert (back.collection, back.replaced, leads_to(), states()) == (version(1), version(2), "v1", {"v1": "live", "v2": "retained"})
    assert back.retained_until is not None and abs(back.retained_until - done.retained_until) < timedelta(minutes=1)
    assert str(leaving) not in ids(1) | ids(2)
    assert str(coming) in ids(1) & ids(2)


@pytest.mark.qdrant_server
def test_reindex__has_the_defined_indexes_before_the_points(qdrant_server: object, monkeypatch: pytest.MonkeyPatch) -> None:
    begun(2)
    seen: list[tuple[str, int]] = []
    index = apply._index

    def counted(client: QdrantClient, name: str, field: str) -> None:
        seen.append((name, client.count(name).count))
        index(client, name, field)

    monkeypatch.setattr(apply, "_index", counted)
    rebuilt()
    assert set(seen) == {(version(2), 0)}
    with qdrant() as client:
        found = client.get_collection(version(2))
        first = client.get_aliases().aliases
    assert {"gender", "age", "interests", "location", "version"} <= set(found.payload_schema)
    assert (found.config.metadata or {})["findme_database"]
    assert first


def test_reindex__again_and_again_takes_the_next_number(embedded_qdrant: object) -> None:
    begun(1)
    assert [rebuilt().collection for _ in range(3)] == [version(number) for number in (2, 3, 4)]
    with qdrant() as client:
        client.create_collection(version(9), vectors_config=models.VectorParams(size=4, distance=models.Distance.COSINE))
    assert rebuilt().collection == version(10)
    assert there() == {"v9", "v10"}  # nobody has noted it: it may be somebody else's


@pytest.mark.qdrant_server
def test_reindex__takes_the_place_of_one_whose_vectors_have_another_size(qdrant_server: object) -> None:
    """Of which no worker can do anything with anybody's point."""
    begun(0)
    with qdrant() as client:
        client.delete_collection(version(1))
        client.create_collection(version(1), vectors_config=models.VectorParams(size=4, distance=models.Distance.COSINE))
        client.update_collection_aliases(alias._moves(None, version(1)))
    people = [embedding.pk for embedding in ProfileEmbeddingFactory.create_batch(3)]
    done = rebuilt()
    assert (done.written, done.acceptance) == (3, AcceptanceResult(version(2), users=3, points=3, pending=0, recall=1.0, live_recall=None))
    assert (leads_to(), states(), ids(2)) == ("v2", {"v2": "live"}, set(map(str, people)))
    sync()


# --- What is retained ----------------------------------------------------------------------------------------------------------------


def test_retained__is_dropped_when_its_time_is_over_and_not_before(store: str) -> None:
    begun(1)
    rebuilt(retain=WEEK)
    assert (drop_expired(), there()) == ((), {"v1", "v2"})
    VectorCollection.objects.filter(name=version(1)).update(retain_until=datetime.now(UTC))
    assert (drop_expired(), there(), states()) == ((version(1),), {"v2"}, {"v2": "live"})
    assert drop_expired() == ()


def test_retained__is_left_to_whoever_is_moving_collections(embedded_qdrant: object) -> None:
    begun(1)
    rebuilt(retain=WEEK)
    VectorCollection.objects.update(retain_until=datetime.now(UTC))
    found: list[object] = []
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [lock_key()])
        try:
            in_thread(lambda: found.append(drop_expired())).result()
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [lock_key()])
    assert (found, there()) == ([()], {"v1", "v2"})


def test_retained__what_the_alias_leads_to_is_never_dropped(store: str) -> None:
    """Qdrant would take the alias with it, silently."""
    begun(1)
    rebuilt(retain=WEEK)
    move_alias_by_hand(1)
    VectorCollection.objects.filter(name=version(1)).update(retain_until=datetime.now(UTC))
    assert (drop_expired(), leads_to(), states()) == ((), "v1", {"v1": "live", "v2": "retained"})


def test_retained__an_alias_moved_by_hand_leaves_the_other_until_somebody_drops_it(embedded_qdrant: object) -> None:
    begun(1)
    rebuilt(retain=WEEK)
    move_alias_by_hand(1)
    with qdrant() as client:
        assert reconcile_alias_if_stale(client)
        assert not reconcile_alias_if_stale(client)
    assert (states(), drop_expired()) == ({"v1": "live", "v2": "retained"}, ())
    assert VectorCollection.objects.get(name=version(2)).retain_until is None
    assert (drop_retained(dry_run=True), there()) == ((version(2),), {"v1", "v2"})
    assert (drop_retained(), there(), states()) == ((version(2),), {"v1"}, {"v1": "live"})


def move_alias_by_hand(number: int) -> None:
    with qdrant() as client:
        client.update_collection_aliases(
            [
                models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=collection_name())),
                models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=version(number), alias_name=collection_name())),
            ]
        )


# --- The acceptance check ---------------------------------------------------------------------------------------------------


def spoil_missing(number: int, person: UUID) -> None:
    with qdrant() as client:
        client.delete(version(number), models.PointIdsList(points=[str(person)]), wait=True)


def spoil_orphaned(number: int, _person: UUID) -> None:
    with qdrant() as client:
        client.upsert(version(number), [models.PointStruct(id=str(uuid4()), vector=unit_vector(1))], wait=True)


def spoil_number(number: int, _person: UUID) -> None:
    with qdrant() as client:
        client.upsert(version(number), [models.PointStruct(id=7, vector=unit_vector(1))], wait=True)


def spoil_stale_payload(number: int, person: UUID) -> None:
    with qdrant() as client:
        client.set_payload(version(number), {"verified": False}, points=[str(person)], wait=True)


def spoil_stale_vector(number: int, person: UUID) -> None:
    with qdrant() as client:
        client.update_vectors(version(number), [models.PointVectors(id=str(person), vector=unit_vector(1234))])


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (spoil_missing, "1 missing (such as '{person}')"),
        (spoil_orphaned, "1 orphaned (such as "),
        (spoil_number, "1 orphaned (such as '7')"),
        (spoil_stale_payload, "1 stale payload (such as '{person}')"),
        (spoil_stale_vector, "1 stale vector (such as '{person}')"),
    ],
)
def test_acceptance__refuses_to_go_back_to_what_is_not_whole(store: str, spoil: Callable[[int, UUID], None], what: str) -> None:
    person, _ = begun(2)
    rebuilt(retain=WEEK)
    spoil(1, person)
    with pytest.raises(UserFacingError) as raised:
        roll_back()
    assert str(raised.value).startswith(f"{version(1)!r} is not accepted: {what.format(person=person)}")
    assert str(raised.value).endswith("Run manage.py verify_qdrant --repair and manage.py sync_qdrant --once, then run this command again.")
    assert (leads_to(), states()) == ("v2", {"v1": "retained", "v2": "live"})


def test_acceptance__accepts_users_on_the_queue(embedded_qdrant: object) -> None:
    person, _ = begun(2)
    rebuilt(retain=WEEK)
    User.objects.filter(pk=person).update(verified=False)
    done = roll_back()
    assert done.acceptance is not None and done.acceptance.pending == 1


def test_acceptance__refuses_a_recall_below_the_live_one(embedded_qdrant: object, monkeypatch: pytest.MonkeyPatch) -> None:
    begun(2)
    monkeypatch.setattr(acceptance, "recall", lambda _client, collection, _vectors: 0.9 if collection == version(1) else 0.885)
    with pytest.raises(UserFacingError) as raised:
        rebuilt()
    assert str(raised.value) == (
        f"{version(2)!r} is not accepted: its recall@10 is 0.8850 and the minimum is 0.8900, 0.01 below the live collection's. The alias was"
        " not moved. Rerun with --min-recall 0.88 to accept it, or drop it with manage.py reindex_qdrant --drop-retained."
    )
    assert (leads_to(), states()) == ("v1", {"v1": "live", "v2": "building"})
    with pytest.raises(UserFacingError, match=r"its recall@10 is 0\.8850 and the minimum is 0\.8900\. The alias"):
        rebuilt(min_recall=0.89)
    done = rebuilt(min_recall=0.88)  # goes on with the same one
    assert (done.collection, done.written, leads_to()) == (version(2), 0, "v2")
    assert done.acceptance == AcceptanceResult(version(2), users=2, points=2, pending=0, recall=0.885, live_recall=None)


@pytest.mark.qdrant_server
@pytest.mark.parametrize("by_grpc", [False, True])
def test_acceptance__compares_with_a_live_one_that_holds_a_vector_of_nan(
    qdrant_server_grpc: QdrantServer, settings: Settings, *, by_grpc: bool
) -> None:
    """Which stands before all others in any search of it, by REST without a score."""
    odd, *others = begun(13)
    with qdrant() as client:
        client.upsert(version(1), [models.PointStruct(id=str(odd), vector=[math.nan] * 512, payload={"version": 1})], wait=True)
        settings.QDRANT_GRPC_PORT = qdrant_server_grpc.grpc_port if by_grpc else 0
    with qdrant() as client:
        found = recall._nearest(client, version(1), str(others[0]), unit_vector(1), exact=False)
        assert len(found) == 10
        assert str(odd) not in {point_id for point_id, _ in found}
    accepted = rebuilt().acceptance
    assert accepted is not None and (accepted.recall, accepted.live_recall) == (1.0, 1.0)


def test_acceptance__refuses_what_qdrant_counts_otherwise(embedded_qdrant: object, monkeypatch: pytest.MonkeyPatch) -> None:
    begun(2)
    rebuilt(retain=WEEK)
    monkeypatch.setattr(acceptance, "COUNT_SECONDS", 0.0)
    monkeypatch.setattr(QdrantClient, "count", lambda *_arguments, **_options: models.CountResult(count=5))
    with pytest.raises(UserFacingError, match="Qdrant counts 5 points for 2 users, with 0 still to be written"):
        roll_back()
    assert leads_to() == "v2"


# --- What goes wrong -------------------------------------------------------------------------------------------------------------


def test_reindex__a_collection_that_vanishes_is_marked_failed_and_holds_nobody_up(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    begun(3)

    def dropped_by_hand(line: str) -> None:
        if "Created " in line:
            with qdrant() as client:
                client.delete_collection(version(2))

    with (
        pytest.raises(UserFacingError, match=rf"^Qdrant has no collection '{version(2)}'"),
        printed_steps("findme.vectorstore", dropped_by_hand),
    ):
        reindex()
    assert (leads_to(), states()) == ("v1", {"v1": "live", "v2": "failed"})
    ProfileEmbeddingFactory.create()
    sync()
    assert wrong(1) == {}
    assert (rebuilt().written, states()) == (4, {"v2": "live"})


def test_reindex__a_worker_that_meets_with_an_error_gives_the_building_one_up(embedded_qdrant: object) -> None:
    begun(3)

    def failed_elsewhere(line: str) -> None:
        if "Created " in line:
            registry.mark_failed(version(2), "the disk is full")

    with pytest.raises(UserFacingError) as raised, printed_steps("findme.vectorstore", failed_elsewhere):
        reindex()
    assert str(raised.value) == (
        f"{version(2)!r} was marked as failed: the disk is full. The alias was not moved. Correct the cause, then run this command again: it builds a new collection."
    )
    assert (states(), drop_expired(), there()) == ({"v1": "live", "v2": "failed"}, (version(2),), {"v1"})


def test_reindex__a_collection_that_refuses_is_marked_failed_and_nobody_is_quarantined(
    store: str, caplog: pytest.LogCaptureFixture
) -> None:
    begun(3)

    def made_otherwise(line: str) -> None:
        if "Created " in line:
            with qdrant() as client:
                client.delete_collection(version(2))
                client.create_collection(version(2), vectors_config=models.VectorParams(size=4, distance=models.Distance.COSINE))

    with pytest.raises(UserFacingError, match="rejected"), printed_steps("findme.vectorstore", made_otherwise):
        reindex()
    assert (leads_to(), states(), QuarantinedUser.objects.count()) == ("v1", {"v1": "live", "v2": "failed"}, 0)
    assert [record.getMessage() for record in caplog.records if "marked as failed" in record.getMessage()]


def test_reindex__waits_for_a_store_that_is_unavailable(embedded_qdrant: object, monkeypatch: pytest.MonkeyPatch) -> None:
    begun(3)
    retrieve = QdrantClient.retrieve
    tries: list[str] = []

    def away_at_first(client: QdrantClient, name: str, *arguments: Any, **options: Any) -> Any:
        tries.append(name)
        if name == version(2) and tries.count(name) <= 2:
            raise StoreUnavailable("Qdrant is restarting.")
        return retrieve(client, name, *arguments, **options)

    monkeypatch.setattr(QdrantClient, "retrieve", away_at_first)
    assert rebuilt().written == 3

    def away(*_arguments: object, **_options: object) -> None:
        raise StoreUnavailable("Qdrant is restarting.")

    monkeypatch.setattr(QdrantClient, "retrieve", away)
    with pytest.raises(StoreUnavailable, match=r"^Qdrant is restarting\.$"):
        rebuilt(timeout=0.0)


def test_reindex__whoever_loses_a_lease_on_the_way_is_tried_again(embedded_qdrant: object, monkeypatch: pytest.MonkeyPatch) -> None:
    begun(3)
    lost: list[Claim] = []

    def slow_at_first(claim: Claim) -> BatchResult:
        if not lost:
            lost.append(claim)
            release(claim, unanswered=True)
            raise LeaseLost
        return carry_out(claim)

    monkeypatch.setattr(backfill, "carry_out", slow_at_first)
    assert (rebuilt().written, len(lost)) == (3, 1)


def test_switch__of_one_that_was_marked_failed_meanwhile(embedded_qdrant: object) -> None:
    begun(1)
    registry.reserve(version(2), "")
    with qdrant() as client, pytest.raises(UserFacingError, match="was marked as failed while it was being compared"):
        switch_alias(client, version(2))
    assert leads_to() == "v1"


def test_reindex__one_that_was_defined_otherwise_starts_anew(embedded_qdrant: object) -> None:
    begun(2)
    with pytest.raises(KeyboardInterrupt), printed_steps("findme.vectorstore", interrupt):
        reindex()
    with qdrant() as client:
        client.upsert(version(2), [models.PointStruct(id=7, vector=unit_vector(1))], wait=True)
    VectorCollection.objects.filter(name=version(2)).update(definition_hash="another release's")
    done = rebuilt()
    assert (done.written, states(), there()) == (2, {"v2": "live"}, {"v2"})


def interrupt(_line: str) -> None:
    raise KeyboardInterrupt


def test_reindex__whom_another_worker_holds_is_tried_again(embedded_qdrant: object, monkeypatch: pytest.MonkeyPatch) -> None:
    held, _, _ = begun(3)
    SyncLease.objects.create(user_id=held, worker_id=uuid4(), expires_at=datetime.now(UTC) + timedelta(hours=1))
    pauses: list[float] = []

    def release_leases(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            SyncLease.objects.all().delete()

    monkeypatch.setattr("findme.core.waiting.time.sleep", release_leases)
    assert rebuilt().written == 3
    assert (len(pauses) >= 3, wrong(2)) == (True, {})


def test_reindex__whom_another_worker_never_lets_go(embedded_qdrant: object) -> None:
    held, _ = begun(2)
    SyncLease.objects.create(user_id=held, worker_id=uuid4(), expires_at=datetime.now(UTC) + timedelta(hours=1))
    with pytest.raises(UserFacingError, match=rf"^Other workers have held 1 user of {version(2)!r} for 0\.5 s"):
        rebuilt(timeout=0.5)
    assert (leads_to(), states()) == ("v1", {"v1": "live", "v2": "building"})
    SyncLease.objects.all().delete()
    assert rebuilt().written == 1


def test_reindex__one_at_a_time(embedded_qdrant: object, settings: Settings) -> None:
    begun(1)
    settings.MIGRATE_WAIT_SECONDS = 0.2
    raised: list[str] = []

    def second() -> None:
        with pytest.raises(UserFacingError) as error:
            rebuilt()
        raised.append(str(error.value))

    with printed_steps("findme.vectorstore", lambda line: in_thread(second).result() if "Created " in line else None):
        reindex()
    assert raised == [
        f"Another process has been changing the collections of {collection_name()!r} for 0.2 s: wait for it, then run it again."
    ]


def test_rollback__where_nothing_older_is_retained(embedded_qdrant: object) -> None:
    begun(1)
    with pytest.raises(UserFacingError) as raised:
        roll_back()
    assert str(raised.value) == (
        f"{collection_name()!r} points to {version(1)!r} and no older collection is retained. manage.py reindex_qdrant --retain keeps the replaced collection."
    )


def test_rollback__twice_does_not_go_forward_again_unless_it_is_said(embedded_qdrant: object) -> None:
    begun(1)
    rebuilt(retain=WEEK)
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
    assert (leads_to(), states()) == ("v2", {"v1": "retained", "v2": "live"})


def test_rollback__goes_to_the_newest_of_those_that_are_retained(embedded_qdrant: object) -> None:
    begun(1)
    for _ in range(3):
        rebuilt(retain=WEEK)
    assert [roll_back().collection for _ in range(2)] == [version(3), version(2)]


def test_rollback__to_what_is_gone(embedded_qdrant: object) -> None:
    begun(1)
    rebuilt(retain=WEEK)
    with qdrant() as client:
        client.delete_collection(version(1))
    with pytest.raises(UserFacingError, match=r"The retained collection .* is gone from Qdrant"):
        roll_back()
    assert (leads_to(), states()) == ("v2", {"v1": "failed", "v2": "live"})


def test_retained__takes_the_place_of_the_live_one_where_that_is_gone(store: str) -> None:
    """What is there and up to date is searched, and nothing empty: init_qdrant, which every line names then, leads there."""
    people = begun(3)
    rebuilt(retain=WEEK)
    rebuilt(retain=WEEK)
    with qdrant() as client:
        client.delete_collection(version(3))
    VectorCollection.objects.filter(name=version(2)).update(retain_until=datetime.now(UTC))
    assert (drop_expired(), there()) == ((), {"v1", "v2"})
    with pytest.raises(UserFacingError, match=r"make it with manage\.py init_qdrant"):
        roll_back()
    assert compare().collection == version(2)
    initialize()
    assert (leads_to(), states(), ids(2), compare().differences) == ("v2", {"v1": "retained", "v2": "live"}, set(map(str, people)), [])
    roll_back()
    assert (leads_to(), wrong(1)) == ("v1", {})


@pytest.mark.qdrant_server
def test_retained__that_takes_a_new_one_takes_the_place_of_the_live_one_that_is_gone(qdrant_server: object, settings: Settings) -> None:
    """It is searched until the new one is built; a way back, which is not what it was retained for, does not move the alias to it."""
    people = begun(3)
    rebuilt(retain=WEEK)
    settings.QDRANT_SHARD_NUMBER = 2
    with qdrant() as client:
        client.delete_collection(version(2))
    preflight.invalidate()
    with pytest.raises(UserFacingError, match=r"make it with manage\.py init_qdrant"):
        roll_back()
    with pytest.raises(UserFacingError, match=r"with manage\.py reindex_qdrant\.$"):
        initialize()
    assert (leads_to(), there()) == (None, {"v1"})
    assert rebuilt().replaced == version(1)
    assert (leads_to(), states(), there(), ids(2)) == ("v2", {"v2": "live"}, {"v2"}, set(map(str, people)))
    assert compare().differences == []


def test_reindex__goes_on_after_a_move_that_was_not_noted_where_the_old_one_is_gone(store: str) -> None:
    """Killed between the alias and its row, and then the old one, which PostgreSQL has as live still, was deleted."""
    begun(2)
    with qdrant() as client:
        make(client)
        registry.prepare(version(2), WEEK)
        client.update_collection_aliases(alias._moves(version(1), version(2)))
        client.delete_collection(version(1))
    preflight.invalidate()
    assert (rebuilt().collection, leads_to()) == (version(2), "v2")
    assert states()["v2"] == "live"


def test_reindex__where_there_is_no_collection(embedded_qdrant: object) -> None:
    for refused in (reindex, roll_back):
        with pytest.raises(
            UserFacingError, match=r"^Qdrant has no collection 'profile_embeddings': make it with manage\.py init_qdrant\.$"
        ):
            refused()


def test_reindex__where_postgresql_knows_nothing_of_the_live_one(embedded_qdrant: object) -> None:
    begun(1)
    VectorCollection.objects.all().delete()
    with pytest.raises(UserFacingError, match=r"which PostgreSQL does not know, so it receives no writes: run manage\.py init_qdrant, "):
        rebuilt()
    assert there() == {"v1"}


# --- The command -----------------------------------------------------------------------------------------------------------------


def test_reindex_qdrant__says_what_it_did(embedded_qdrant: object, capsys: pytest.CaptureFixture[str]) -> None:
    begun(2)
    assert output(capsys).splitlines() == [
        f"Created {version(2)}. Workers write it from now on.",
        "2 points written, 0 already existed.",
        f"{version(2)} is accepted: 2 points, recall@10 1.0000 (live: 1.0000).",
        f"{collection_name()} leads to {version(2)}.",
        f"{version(1)} was dropped.",
    ]
    retained = output(capsys, "--retain", "12h").splitlines()[-1]
    assert retained.startswith(f"{version(2)} is retained until 20") and retained.endswith(
        " UTC: reindex_qdrant --rollback makes it live again."
    )
    assert output(capsys, "--rollback").splitlines()[:2] == [
        f"{version(2)} is accepted: 2 points, recall@10 1.0000 (live: 1.0000).",
        f"{collection_name()} leads to {version(2)}.",
    ]
    assert output(capsys, "--rollback", version(3)).splitlines()[1] == f"{collection_name()} leads to {version(3)}."
    assert output(capsys, "--rollback").splitlines()[1] == f"{collection_name()} leads to {version(2)}."
    assert output(capsys, "--drop-retained", "--dry-run") == f"Would be dropped: {version(3)}.\n"
    assert output(capsys, "--drop-retained") == f"Dropped: {version(3)}.\n"
    assert output(capsys, "--drop-retained") == "There is nothing to drop.\n"
    assert json.loads(output(capsys, "--drop-retained", "--json")) == {"dry_run": False, "dropped": [], "unique_vectors": 0}


def test_reindex_qdrant__json(embedded_qdrant: object, capsys: pytest.CaptureFixture[str]) -> None:
    begun(2)
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


def test_reindex_qdrant__where_the_old_one_cannot_be_dropped_the_new_one_is_searched(
    embedded_qdrant: object, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(1)

    def away(*_arguments: object, **_options: object) -> None:
        raise StoreUnavailable("Qdrant is busy.")

    monkeypatch.setattr(QdrantClient, "delete_collection", away)
    assert output(capsys).splitlines()[-2:] == [
        "Not every expired collection could be dropped: Qdrant is busy.",
        f"{version(1)} is not dropped yet: an idle worker or the next run drops it.",
    ]
    assert (leads_to(), states()) == ("v2", {"v1": "failed", "v2": "live"})


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
def test_reindex_qdrant__arguments_that_it_does_not_take(arguments: list[str], line: str) -> None:
    with pytest.raises(CommandError) as raised:
        call_command("reindex_qdrant", *arguments)
    assert (str(raised.value), raised.value.returncode) == (line, 2 if line.startswith("--") else raised.value.returncode)
