"""Writing a claim's points, with conditional writes, and reading them back (protocol, rules 4, 5, 6, 10 and 11)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse
from qdrant_client.local import local_collection
from qdrant_client.local.payload_filters import calculate_payload_mask

from accounts.models import User
from findme.core.errors import StoreUnavailable
from tests.vectorstore.secondary import secondary, state_of
from tests.vectorstore.sync.people import a_point, ids, one, people, plain_sql, point, points, queued, version_of, write
from vectorstore.catalog import registry
from vectorstore.models import QuarantinedUser, QueueEntry, SyncLease, VectorCollection
from vectorstore.qdrant import write as conditional_write
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.qdrant.errors import RequestRejected, RestoreDetected, ServerError
from vectorstore.qdrant.write import Point
from vectorstore.queue.entries import enqueue
from vectorstore.sync.batch import carry_out, work
from vectorstore.sync.claims import Claim, claim_due
from vectorstore.sync.leases import LeaseLost, renew
from vectorstore.sync.removal import point_of
from vectorstore.sync.results import BatchResult
from vectorstore.sync.writer import NO_POINT

pytestmark = pytest.mark.django_db

State = VectorCollection.State
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def claimed() -> Claim:
    claim = claim_due(uuid4(), 100)
    assert claim is not None
    return claim


def allocated_version() -> int:
    """A version, as for a claim that comes later."""
    version: int = one("SELECT nextval('vector_sync_version')")
    return version


def rechecks() -> set[UUID | None]:
    return set(QueueEntry.objects.filter(awaits_ack=True).values_list("user_id", flat=True))


# --- Conditional writes -------------------------------------------------------------------------------------------------------------------


def test_write__a_stale_upsert_does_not_win_over_a_newer_point(any_collection: str) -> None:
    newer, without, older = people(3)
    claim, later = claimed(), allocated_version()
    write(a_point(newer, version=later), a_point(without), a_point(older, version=claim.version - 1))
    assert carry_out(claim) == BatchResult(written=3)
    assert point(newer)["payload"] == {"user_id": str(newer), "version": later}
    assert version_of(without) == version_of(older) == claim.version
    assert queued() == 0


def test_write__a_stale_deletion_does_not_win_over_a_newer_point(any_collection: str) -> None:
    newer, without, older = user_ids = people(3)
    User.objects.all().delete()
    claim = claimed()
    write(a_point(newer, version=allocated_version()), a_point(without), a_point(older, version=claim.version - 1))
    carry_out(claim)
    assert points() == ids([newer])
    assert queued(*user_ids) == 0


def test_write__each_send_is_waited_for_and_ordered(embedded_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a cluster, a weaker ordering lets replicas take two writes in different orders."""
    there, gone = people(2)
    carry_out(claimed())
    enqueue([there])
    sent: list[tuple[str, bool, models.WriteOrdering]] = []
    for name in ("upsert", "delete"):
        original = getattr(QdrantClient, name)

        def noting(*arguments: Any, original: Any = original, name: str = name, **options: Any) -> Any:
            sent.append((name, options["wait"], options["ordering"]))
            return original(*arguments, **options)

        monkeypatch.setattr(QdrantClient, name, noting)
    User.objects.filter(pk=gone).delete()
    carry_out(claimed())
    assert sent == [("upsert", True, models.WriteOrdering.MEDIUM), ("delete", True, models.WriteOrdering.MEDIUM)]


def test_write__embedded_compares_no_point_but_those_of_the_batch(embedded_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It compares each id of a filter with each point: 768 times 20,000 for a batch."""
    there, gone = people(2)
    carry_out(claimed())
    compared: list[int] = []

    def noting(payloads: list[Any], payload_filter: models.Filter | None, **options: Any) -> Any:
        if payload_filter is not None:
            compared.append(len(payloads))
        return calculate_payload_mask(payloads, payload_filter, **options)

    monkeypatch.setattr(local_collection, "calculate_payload_mask", noting)
    User.objects.filter(pk=gone).delete()
    enqueue([there])
    done = carry_out(claimed())
    assert (done.written, done.removed, compared) == (1, 1, [])


def test_write__embedded_sends_no_deletion_of_points_that_are_not_there(embedded_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """qdrant-client 1.20 refuses an empty list of ids; 1.19 took it."""
    (gone,) = people(1)
    User.objects.filter(pk=gone).delete()
    sent: list[object] = []
    monkeypatch.setattr(QdrantClient, "delete", lambda *arguments, **options: sent.append(arguments))
    done = carry_out(claimed())
    assert (done.written, done.removed, sent) == (0, 0, [])


# --- The lease -------------------------------------------------------------------------------------------------------------------


def test_carry_out__with_a_lost_lease_nothing_is_sent(embedded_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    there, gone = people(2)
    User.objects.filter(pk=gone).delete()
    claim = claimed()
    for name in ("upsert", "delete"):
        monkeypatch.setattr(conditional_write, name, lambda *_arguments, **_options: pytest.fail("sent"))
    SyncLease.objects.update(expires_at=LONG_AGO)
    with pytest.raises(LeaseLost):
        carry_out(claim)
    assert not SyncLease.objects.exists()
    assert rechecks() == {there, gone}
    assert QueueEntry.objects.filter(awaits_ack=False).count() == len(claim.entries)


def test_carry_out__renews_the_lease_before_each_send(server_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for each part of a batch that is split, and in each collection; nothing comes in between."""
    refused, _other, gone = people(3)
    User.objects.filter(pk=gone).delete()
    secondary()
    done: list[str] = []
    refuse(monkeypatch, refused)

    def renewed(claim: Claim) -> datetime:
        done.append("renew")
        return renew(claim)

    monkeypatch.setattr("vectorstore.sync.writer.renew", renewed)
    for where, name in (
        (conditional_write, "upsert"),
        (conditional_write, "delete"),
        (QdrantClient, "retrieve"),
        (conditional_write, "count_of"),
    ):
        noted(monkeypatch, where, name, done)
    assert carry_out(claimed()).written == 1
    assert done.count("upsert") == 2 * 3
    assert done.count("delete") == 2
    sends = [index for index, name in enumerate(done) if name in {"upsert", "delete"}]
    assert {done[index - 1] for index in sends} == {"renew"}


def noted(monkeypatch: pytest.MonkeyPatch, where: object, name: str, done: list[str]) -> None:
    original = getattr(where, name)

    def noting(*arguments: Any, **options: Any) -> Any:
        done.append(name)
        return original(*arguments, **options)

    monkeypatch.setattr(where, name, noting)


# --- Reading back ----------------------------------------------------------------------------------------------------------------


def test_carry_out__an_upsert_that_did_not_arrive(any_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (person,) = people(1)
    monkeypatch.setattr(conditional_write, "upsert", lambda *_arguments, **_options: None)
    with pytest.raises(StoreUnavailable) as raised:
        carry_out(claimed())
    name = f"{collection_name()}_v1"
    assert (
        str(raised.value)
        == f"Qdrant accepted 1 point for {name!r}, but 1 differs from what was sent. Check Qdrant's log and run manage.py verify_qdrant."
    )
    assert queued(person) == 2
    assert rechecks() == {person}


def test_carry_out__a_deletion_that_did_not_happen(any_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (person,) = people(1)
    carry_out(claimed())
    User.objects.filter(pk=person).delete()
    monkeypatch.setattr(QdrantClient, "delete", lambda *_arguments, **_options: None)
    with pytest.raises(StoreUnavailable) as raised:
        carry_out(claimed())
    name = f"{collection_name()}_v1"
    assert str(raised.value) == (f"1 of 1 point is still in {name!r} after their deletion. Check Qdrant's log, then run the command again.")
    assert QueueEntry.objects.filter(user_id=person, awaits_ack=False).exists()
    assert rechecks() == {person}


def test_carry_out__deletions_are_not_read_back_by_counting(embedded_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A count of ids goes on counting deleted points while a segment is rewritten."""
    people(1)
    carry_out(claimed())
    User.objects.all().delete()
    monkeypatch.setattr(QdrantClient, "count", lambda *_arguments, **_options: models.CountResult(count=1))
    assert carry_out(claimed()) == BatchResult(removed=1)


def test_carry_out__a_newer_point_that_came_in_between_is_no_loss(embedded_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (person,) = people(1)
    claim = claimed()
    upsert = conditional_write.upsert

    def overtaken(client: QdrantClient, *arguments: Any, **options: Any) -> Any:
        upsert(client, *arguments, **options)
        return client.upsert(collection_name(), [a_point(person, version=allocated_version())])

    monkeypatch.setattr(conditional_write, "upsert", overtaken)
    assert carry_out(claim) == BatchResult(written=1)


@pytest.mark.parametrize("leaves", [False, True])
def test_carry_out__a_newer_point_of_a_version_that_was_never_allocated_is_no_proof(any_collection: str, *, leaves: bool) -> None:
    """PostgreSQL was restored after the worker had asked: the condition refuses silently, and the change would be lost."""
    (person,) = people(1)
    if leaves:
        User.objects.filter(pk=person).delete()
    claim = claimed()
    write(a_point(person, version=claim.version + 1))
    with pytest.raises(RestoreDetected) as raised:
        carry_out(claim)
    assert raised.value.what == (
        f"'{collection_name()}_v1' holds a point of version {claim.version + 1}, and PostgreSQL has allocated {claim.version} so far: it was restored"
        " to an older copy, or failed over."
    )
    assert QueueEntry.objects.filter(user_id=person, awaits_ack=False).exists()
    assert not SyncLease.objects.exists()


@pytest.mark.parametrize("version", [2**53 + 2, [2**52], 2**52 + 7])
def test_carry_out__a_version_that_no_worker_can_have_written_stands_in_nobodys_way(any_collection: str, version: object) -> None:
    """It would make the condition refuse every write, and be taken for a proof of it: the person would never be written, or deleted."""
    there, gone, other = people(3)
    User.objects.filter(pk=gone).delete()
    write(a_point(there, version=version), a_point(gone, version=version))
    claim = claimed()
    assert carry_out(claim) == BatchResult(written=2, removed=1)
    assert points() == ids([there, other])
    assert version_of(there) == version_of(other) == claim.version
    assert queued() == 0


def test_carry_out__one_that_comes_back_as_often_as_it_is_deleted(any_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    there, gone = people(2)
    User.objects.filter(pk=gone).delete()
    write(a_point(there, version=2**53), a_point(gone, version=2**53))
    monkeypatch.setattr(conditional_write, "clear", lambda *_arguments: None)
    with pytest.raises(StoreUnavailable, match=r"Qdrant accepted 1 point .* 1 differs from what was sent"):
        carry_out(claimed())
    write(a_point(there))
    with pytest.raises(StoreUnavailable, match="1 of 1 point is still in"):
        carry_out(claimed())
    assert QueueEntry.objects.filter(user_id=gone, awaits_ack=False).exists()


# --- Whose fault -----------------------------------------------------------------------------------------------------------------


def answer(status: int, words: str = "no") -> UnexpectedResponse:
    return UnexpectedResponse(status, "", f'{{"status": {{"error": "{words}"}}}}'.encode(), httpx.Headers())


def refuse(monkeypatch: pytest.MonkeyPatch, *refused: UUID) -> None:
    """Requests with any of these people are answered 400."""
    upsert = conditional_write.upsert

    def refusing(client: QdrantClient, collection: str, sent: list[Point], version: int) -> None:
        if {point.id for point in sent} & ids(refused):
            raise answer(400, "Wrong input: too long")
        upsert(client, collection, sent, version)

    monkeypatch.setattr(conditional_write, "upsert", refusing)


@pytest.mark.qdrant_server
def test_work__a_person_whose_data_qdrant_refuses_is_quarantined(server_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    user_ids = people(9)
    one, other, *rest = user_ids
    with monkeypatch.context() as patched:
        refuse(patched, one, other)
        done = work(uuid4(), 100)
        assert done is not None
        assert (done.written, {rejected.user_id for rejected in done.rejected}) == (7, {one, other})
    assert points() == ids(rest)
    assert queued() == 0
    quarantined = QuarantinedUser.objects.get(pk=one)
    assert quarantined.collection == f"{collection_name()}_v1"
    assert quarantined.reason.endswith("rejected this: Wrong input: too long. See manage.py init_qdrant --check.")
    # A newer change takes a person out; whoever is gone is deleted.
    plain_sql("UPDATE users SET gender = 'other', active = false WHERE id = %s", one)
    plain_sql("DELETE FROM users WHERE id = %s", other)
    write(a_point(other))
    assert work(uuid4(), 100) == BatchResult(written=1, removed=1)
    assert not QuarantinedUser.objects.exists()
    assert points() == ids([one, *rest])


@pytest.mark.qdrant_server
@pytest.mark.parametrize(
    "error",
    [
        *[lambda status=status: answer(status) for status in (401, 403, 404, 429, 500, 503)],
        lambda: ResponseHandlingException(httpx.ReadTimeout("")),
        lambda: ResponseHandlingException(httpx.ConnectError("Connection refused")),
        lambda: ResponseHandlingException(httpx.RemoteProtocolError("disconnected")),
    ],
)
def test_work__an_error_that_is_no_users_fault_quarantines_no_user(
    server_collection: str, monkeypatch: pytest.MonkeyPatch, error: Callable[[], Exception]
) -> None:
    user_ids = people(3)

    def failing(*_arguments: Any, **_options: Any) -> None:
        raise error()

    with monkeypatch.context() as patched:
        patched.setattr(conditional_write, "upsert", failing)
        with pytest.raises(StoreUnavailable):
            work(uuid4(), 100)
    assert not QuarantinedUser.objects.exists()
    assert not SyncLease.objects.exists()
    assert rechecks() == set(user_ids)
    assert work(uuid4(), 100) == BatchResult(written=3)


@pytest.mark.qdrant_server
def test_work__a_collection_that_takes_nobody_quarantines_nobody(server: object) -> None:
    """Of vectors of another size: every request is refused, and that is no person's fault."""
    people(3)
    name = f"{collection_name()}_v1"
    with qdrant() as client:
        client.create_collection(name, vectors_config=models.VectorParams(size=4, distance=models.Distance.COSINE))
        alias = models.CreateAlias(collection_name=name, alias_name=collection_name())
        client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
    registry.register(name, State.LIVE, "")
    with pytest.raises(RequestRejected, match="expected dim: 4, got 512"):
        work(uuid4(), 100)
    assert not QuarantinedUser.objects.exists()
    assert (queued(), SyncLease.objects.count()) == (3, 0)


@pytest.mark.qdrant_server
def test_work__where_all_users_are_rejected_none_is_quarantined(server_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole batch, one and all: something is wrong with the server or with what stands before it."""
    user_ids = people(16)
    refuse(monkeypatch, *user_ids)
    with pytest.raises(RequestRejected, match="rejected this: Wrong input: too long"):
        work(uuid4(), 16)
    assert not QuarantinedUser.objects.exists()
    assert (queued(), SyncLease.objects.count()) == (16, 0)


def test_work__a_row_that_no_point_can_be_made_of(dates_unchecked: None, embedded_collection: str) -> None:
    odd, fine = people(2)
    work(uuid4(), 100)
    plain_sql("UPDATE users SET created_at = 'infinity', active = false WHERE id = %s", odd)
    done = work(uuid4(), 100)
    assert done is not None
    assert (done.written, done.removed, [rejected.reason for rejected in done.rejected]) == (0, 1, [NO_POINT])
    assert QuarantinedUser.objects.get().user_id == odd
    assert points() == ids([fine])


# --- More than one collection ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [State.BUILDING, State.RETAINED, State.READY])
def test_work__every_collection_gets_every_write_and_deletion(collection: str, state: VectorCollection.State) -> None:
    name = secondary(state)
    there, gone = people(2)
    assert work(uuid4(), 100) == BatchResult(written=2)
    assert points(name) == points() == ids([there, gone])
    User.objects.filter(pk=gone).delete()
    assert work(uuid4(), 100) == BatchResult(removed=1)
    assert points(name) == points() == ids([there])


@pytest.mark.parametrize("state", [State.BUILDING, State.RETAINED])
def test_work__a_missing_secondary_is_marked_failed(collection: str, state: VectorCollection.State) -> None:
    name = secondary(state, made=False)
    (person,) = people(1)
    assert work(uuid4(), 100) == BatchResult(written=1)
    assert state_of(name) == (State.FAILED, f"Qdrant has no collection {name!r}: make it with manage.py init_qdrant.")
    assert point_of(person) is not None
    assert queued() == 0


@pytest.mark.qdrant_server
@pytest.mark.parametrize("status", [500, 400])
def test_work__a_secondary_that_fails_is_marked_failed(server_collection: str, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    name = secondary()
    fail_in(monkeypatch, name, status)
    people(2)
    assert work(uuid4(), 100) == BatchResult(written=2)
    assert state_of(name)[0] == State.FAILED
    assert f"{collection_name()}_v1" == registry.live()
    assert (queued(), QuarantinedUser.objects.count()) == (0, 0)


def fail_in(monkeypatch: pytest.MonkeyPatch, failing: str, status: int) -> None:
    upsert = conditional_write.upsert

    def sometimes(client: QdrantClient, collection: str, *arguments: Any, **options: Any) -> Any:
        if collection == failing:
            raise answer(status)
        return upsert(client, collection, *arguments, **options)

    monkeypatch.setattr(conditional_write, "upsert", sometimes)


@pytest.mark.qdrant_server
def test_work__one_that_is_silent_again_and_again_is_marked_failed(server_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the live one answers. Once or twice it may be the server, which goes away just then."""
    name = secondary()
    (person,) = people(1)
    upsert = conditional_write.upsert

    def silent(client: QdrantClient, collection: str, *arguments: Any, **options: Any) -> Any:
        if collection == name:
            raise ResponseHandlingException(httpx.ReadTimeout(""))
        return upsert(client, collection, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(conditional_write, "upsert", silent)
        for _ in range(4):
            with pytest.raises(StoreUnavailable):
                work(uuid4(), 100)
    work(uuid4(), 100)  # and again it may be silent as often
    enqueue([person])
    monkeypatch.setattr(conditional_write, "upsert", silent)
    for _ in range(4):
        with pytest.raises(StoreUnavailable):
            work(uuid4(), 100)
    assert state_of(name) == (State.BUILDING, "")
    assert work(uuid4(), 100) == BatchResult(written=1)
    state, why = state_of(name)
    assert (state, "did not answer within" in why) == (State.FAILED, True)


@pytest.mark.qdrant_server
def test_work__one_that_has_become_live_meanwhile_is_not_marked_failed(server_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its alias was moved just now, and the row does not say so yet."""
    name = secondary(State.READY)
    fail_in(monkeypatch, name, 500)
    monkeypatch.setattr("vectorstore.catalog.secondary.alias_target", lambda _client: name)
    people(1)
    with pytest.raises(ServerError):
        work(uuid4(), 100)
    assert state_of(name) == (State.READY, "")
    assert queued() == 2


@pytest.mark.qdrant_server
def test_work__one_that_is_dropped_meanwhile_holds_nobody_up(server_collection: str) -> None:
    name = secondary(State.READY)
    people(1)
    claim = claimed()
    registry.mark_for_deletion(name)
    with qdrant() as client:
        client.delete_collection(name)
    assert carry_out(claim) == BatchResult(written=1)


@pytest.mark.qdrant_server
def test_work__no_collection_is_marked_failed_for_whom_the_live_one_refuses_too(
    server_collection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = secondary()
    refused, fine = people(2)
    refuse(monkeypatch, refused)
    work(uuid4(), 100)
    assert state_of(name) == (State.BUILDING, "")
    assert points(name) == points() == ids([fine])
    assert QuarantinedUser.objects.get().user_id == refused
