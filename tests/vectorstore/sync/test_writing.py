"""Write the points of a claim and read them back (protocol rules 4, 5, 6, 10 and 11)."""

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
from tests.schema.rows import ask
from tests.support.secondary import secondary, state_of
from tests.support.users import create_users
from tests.vectorstore.sync.points import a_point, claimed, ids, one, point, points, queued, version_of, write
from vectorstore.catalog import registry
from vectorstore.models import QuarantinedUser, QueueEntry, SyncLease, VectorCollection
from vectorstore.qdrant import write as conditional_write
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.qdrant.errors import RequestRejected, RestoreDetected, ServerError
from vectorstore.qdrant.write import Point
from vectorstore.queue.entries import enqueue
from vectorstore.sync.batch import carry_out, work
from vectorstore.sync.claims import Claim
from vectorstore.sync.inline import point_of
from vectorstore.sync.leases import LeaseLost, renew
from vectorstore.sync.results import BatchResult
from vectorstore.sync.writer import NO_POINT

pytestmark = pytest.mark.django_db

State = VectorCollection.State
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def allocated_version() -> int:
    """Return a version like that of a later claim."""
    version: int = one("SELECT nextval('vector_sync_version')")
    return version


def rechecks() -> set[UUID | None]:
    return set(QueueEntry.objects.filter(awaits_ack=True).values_list("user_id", flat=True))


# --- Conditional writes ----------------------------------------------------------------------------------------------------------


def test_carry_out__stale_upsert__does_not_replace_a_newer_point(any_collection: str) -> None:
    newer, without, older = create_users(3)
    claim, later = claimed(), allocated_version()
    write(a_point(newer, version=later), a_point(without), a_point(older, version=claim.version - 1))
    assert carry_out(claim) == BatchResult(written=3)
    assert point(newer)["payload"] == {"user_id": str(newer), "version": later}
    assert version_of(without) == version_of(older) == claim.version
    assert queued() == 0


def test_carry_out__stale_deletion__does_not_delete_a_newer_point(any_collection: str) -> None:
    newer, without, older = user_ids = create_users(3)
    User.objects.all().delete()
    claim = claimed()
    write(a_point(newer, version=allocated_version()), a_point(without), a_point(older, version=claim.version - 1))
    carry_out(claim)
    assert points() == ids([newer])
    assert queued(*user_ids) == 0


def test_carry_out__every_request__waits_and_is_ordered(embedded_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a cluster, a weaker ordering lets replicas take two writes in different orders."""
    kept, gone = create_users(2)
    carry_out(claimed())
    enqueue([kept])
    sent: list[tuple[str, bool, models.WriteOrdering]] = []
    for name in ("upsert", "delete"):
        original = getattr(QdrantClient, name)

        def record_call(*arguments: Any, original: Any = original, name: str = name, **options: Any) -> Any:
            sent.append((name, options["wait"], options["ordering"]))
            return original(*arguments, **options)

        monkeypatch.setattr(QdrantClient, name, record_call)
    User.objects.filter(pk=gone).delete()
    carry_out(claimed())
    assert sent == [("upsert", True, models.WriteOrdering.MEDIUM), ("delete", True, models.WriteOrdering.MEDIUM)]


def test_carry_out__embedded__compares_only_points_of_the_batch(embedded_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The local mode compares each id of a filter with each point: 768 times 20,000 for a batch."""
    kept, gone = create_users(2)
    carry_out(claimed())
    compared: list[int] = []

    def record_call(payloads: list[Any], payload_filter: models.Filter | None, **options: Any) -> Any:
        if payload_filter is not None:
            compared.append(len(payloads))
        return calculate_payload_mask(payloads, payload_filter, **options)

    monkeypatch.setattr(local_collection, "calculate_payload_mask", record_call)
    User.objects.filter(pk=gone).delete()
    enqueue([kept])
    result = carry_out(claimed())
    assert (result.written, result.removed, compared) == (1, 1, [])


def test_carry_out__embedded_without_points_to_delete__sends_no_deletion(embedded_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """qdrant-client 1.20 refuses an empty list of ids; 1.19 took it."""
    (gone,) = create_users(1)
    User.objects.filter(pk=gone).delete()
    sent: list[object] = []
    monkeypatch.setattr(QdrantClient, "delete", lambda *arguments, **options: sent.append(arguments))
    result = carry_out(claimed())
    assert (result.written, result.removed, sent) == (0, 0, [])


# --- The lease -------------------------------------------------------------------------------------------------------------------


def test_carry_out__lost_lease__sends_nothing(embedded_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, gone = create_users(2)
    User.objects.filter(pk=gone).delete()
    claim = claimed()
    for name in ("upsert", "delete"):
        monkeypatch.setattr(conditional_write, name, lambda *_arguments, **_options: pytest.fail("sent"))
    SyncLease.objects.update(expires_at=LONG_AGO)
    with pytest.raises(LeaseLost):
        carry_out(claim)
    assert not SyncLease.objects.exists()
    assert rechecks() == {kept, gone}
    assert QueueEntry.objects.filter(awaits_ack=False).count() == len(claim.entries)


def test_carry_out__renews_the_lease_before_each_request(server_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It also renews before each part of a split batch and for each collection.

    No other request comes in between.
    """
    refused, _other, gone = create_users(3)
    User.objects.filter(pk=gone).delete()
    secondary()
    calls: list[str] = []
    reject_users(monkeypatch, refused)

    def record_and_renew(claim: Claim) -> datetime:
        calls.append("renew")
        return renew(claim)

    monkeypatch.setattr("vectorstore.sync.writer.renew", record_and_renew)
    for owner, name in (
        (conditional_write, "upsert"),
        (conditional_write, "delete"),
        (QdrantClient, "retrieve"),
        (conditional_write, "count_of"),
    ):
        record_calls(monkeypatch, owner, name, calls)
    assert carry_out(claimed()).written == 1
    assert calls.count("upsert") == 2 * 3
    assert calls.count("delete") == 2
    sends = [index for index, name in enumerate(calls) if name in {"upsert", "delete"}]
    assert {calls[index - 1] for index in sends} == {"renew"}


def record_calls(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, calls: list[str]) -> None:
    original = getattr(owner, name)

    def record_call(*arguments: Any, **options: Any) -> Any:
        calls.append(name)
        return original(*arguments, **options)

    monkeypatch.setattr(owner, name, record_call)


# --- Reading back ----------------------------------------------------------------------------------------------------------------


def test_carry_out__upsert_not_applied__fails_and_queues_a_recheck(any_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (user_id,) = create_users(1)
    monkeypatch.setattr(conditional_write, "upsert", lambda *_arguments, **_options: None)
    with pytest.raises(StoreUnavailable) as raised:
        carry_out(claimed())
    name = f"{collection_name()}_v1"
    assert (
        str(raised.value)
        == f"Qdrant accepted 1 point for {name!r}, but 1 differs from what was sent. Check Qdrant's log and run manage.py verify_qdrant."
    )
    assert queued(user_id) == 2
    assert rechecks() == {user_id}


def test_carry_out__deletion_not_applied__fails_and_queues_a_recheck(any_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (user_id,) = create_users(1)
    carry_out(claimed())
    User.objects.filter(pk=user_id).delete()
    monkeypatch.setattr(QdrantClient, "delete", lambda *_arguments, **_options: None)
    with pytest.raises(StoreUnavailable) as raised:
        carry_out(claimed())
    name = f"{collection_name()}_v1"
    assert str(raised.value) == (f"1 of 1 point is still in {name!r} after their deletion. Check Qdrant's log, then run the command again.")
    assert QueueEntry.objects.filter(user_id=user_id, awaits_ack=False).exists()
    assert rechecks() == {user_id}


def test_carry_out__deletions__are_not_read_back_by_counting(embedded_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Qdrant keeps counting deleted points while it rewrites a segment."""
    create_users(1)
    carry_out(claimed())
    User.objects.all().delete()
    monkeypatch.setattr(QdrantClient, "count", lambda *_arguments, **_options: models.CountResult(count=1))
    assert carry_out(claimed()) == BatchResult(removed=1)


def test_carry_out__newer_point_written_in_between__counts_as_written(embedded_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (user_id,) = create_users(1)
    claim = claimed()
    upsert = conditional_write.upsert

    def upsert_and_overtake(client: QdrantClient, *arguments: Any, **options: Any) -> Any:
        upsert(client, *arguments, **options)
        return client.upsert(collection_name(), [a_point(user_id, version=allocated_version())])

    monkeypatch.setattr(conditional_write, "upsert", upsert_and_overtake)
    assert carry_out(claim) == BatchResult(written=1)


@pytest.mark.parametrize("deleted", [False, True])
def test_carry_out__newer_point_with_an_unallocated_version__reports_a_restore(any_collection: str, *, deleted: bool) -> None:
    """PostgreSQL was restored after the worker's check.

    The condition silently skips the write, and the change would be lost.
    """
    (user_id,) = create_users(1)
    if deleted:
        User.objects.filter(pk=user_id).delete()
    claim = claimed()
    write(a_point(user_id, version=claim.version + 1))
    with pytest.raises(RestoreDetected) as raised:
        carry_out(claim)
    assert raised.value.what == (
        f"'{collection_name()}_v1' holds a point of version {claim.version + 1}, and PostgreSQL has allocated {claim.version} so far: it was restored"
        " to an older copy, or failed over."
    )
    assert QueueEntry.objects.filter(user_id=user_id, awaits_ack=False).exists()
    assert not SyncLease.objects.exists()


@pytest.mark.parametrize("version", [2**53 + 2, [2**52], 2**52 + 7])
def test_carry_out__unbeatable_version__blocks_no_user(any_collection: str, version: object) -> None:
    """The condition would skip every write, and the version would pass as proof of it.

    The user would never be written or deleted.
    """
    kept, gone, other = create_users(3)
    User.objects.filter(pk=gone).delete()
    write(a_point(kept, version=version), a_point(gone, version=version))
    claim = claimed()
    assert carry_out(claim) == BatchResult(written=2, removed=1)
    assert points() == ids([kept, other])
    assert version_of(kept) == version_of(other) == claim.version
    assert queued() == 0


def test_carry_out__unbeatable_version_that_cannot_be_cleared__fails(any_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, gone = create_users(2)
    User.objects.filter(pk=gone).delete()
    write(a_point(kept, version=2**53), a_point(gone, version=2**53))
    monkeypatch.setattr(conditional_write, "clear", lambda *_arguments: None)
    with pytest.raises(StoreUnavailable, match=r"Qdrant accepted 1 point .* 1 differs from what was sent"):
        carry_out(claimed())
    write(a_point(kept))
    with pytest.raises(StoreUnavailable, match="1 of 1 point is still in"):
        carry_out(claimed())
    assert QueueEntry.objects.filter(user_id=gone, awaits_ack=False).exists()


# --- Quarantine ------------------------------------------------------------------------------------------------------------------


def answer(status: int, message: str = "no") -> UnexpectedResponse:
    return UnexpectedResponse(status, "", f'{{"status": {{"error": "{message}"}}}}'.encode(), httpx.Headers())


def reject_users(monkeypatch: pytest.MonkeyPatch, *refused: UUID) -> None:
    """Let Qdrant answer 400 to every request with one of these users."""
    upsert = conditional_write.upsert

    def reject_or_upsert(client: QdrantClient, collection: str, sent: list[Point], version: int) -> None:
        if {point.id for point in sent} & ids(refused):
            raise answer(400, "Wrong input: too long")
        upsert(client, collection, sent, version)

    monkeypatch.setattr(conditional_write, "upsert", reject_or_upsert)


@pytest.mark.qdrant_server
def test_work__user_with_data_that_qdrant_rejects__is_quarantined(server_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    user_ids = create_users(9)
    one, other, *rest = user_ids
    with monkeypatch.context() as patched:
        reject_users(patched, one, other)
        result = work(uuid4(), 100)
        assert result is not None
        assert (result.written, {rejected.user_id for rejected in result.rejected}) == (7, {one, other})
    assert points() == ids(rest)
    assert queued() == 0
    quarantined = QuarantinedUser.objects.get(pk=one)
    assert quarantined.collection == f"{collection_name()}_v1"
    assert quarantined.reason.endswith("rejected this: Wrong input: too long. See manage.py init_qdrant --check.")
    # A newer change ends the quarantine. A user without a row is deleted.
    ask("UPDATE users SET gender = 'other', active = false WHERE id = %s", one)
    ask("DELETE FROM users WHERE id = %s", other)
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
def test_work__error_not_caused_by_data__quarantines_no_user(
    server_collection: str, monkeypatch: pytest.MonkeyPatch, error: Callable[[], Exception]
) -> None:
    user_ids = create_users(3)

    def fail(*_arguments: Any, **_options: Any) -> None:
        raise error()

    with monkeypatch.context() as patched:
        patched.setattr(conditional_write, "upsert", fail)
        with pytest.raises(StoreUnavailable):
            work(uuid4(), 100)
    assert not QuarantinedUser.objects.exists()
    assert not SyncLease.objects.exists()
    assert rechecks() == set(user_ids)
    assert work(uuid4(), 100) == BatchResult(written=3)


@pytest.mark.qdrant_server
def test_work__collection_of_another_vector_size__quarantines_no_user(server: object) -> None:
    """Qdrant rejects every request, and no user's data cause that."""
    create_users(3)
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
def test_work__all_users_rejected__quarantines_no_user(server_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If Qdrant rejects a whole batch, the server or a proxy in front of it has a problem."""
    user_ids = create_users(16)
    reject_users(monkeypatch, *user_ids)
    with pytest.raises(RequestRejected, match="rejected this: Wrong input: too long"):
        work(uuid4(), 16)
    assert not QuarantinedUser.objects.exists()
    assert (queued(), SyncLease.objects.count()) == (16, 0)


def test_work__row_that_makes_no_valid_point__user_is_quarantined(dates_unchecked: None, embedded_collection: str) -> None:
    unreadable, valid = create_users(2)
    work(uuid4(), 100)
    ask("UPDATE users SET created_at = 'infinity', active = false WHERE id = %s", unreadable)
    result = work(uuid4(), 100)
    assert result is not None
    assert (result.written, result.removed, [rejected.reason for rejected in result.rejected]) == (0, 1, [NO_POINT])
    assert QuarantinedUser.objects.get().user_id == unreadable
    assert points() == ids([valid])


# --- More than one collection ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [State.BUILDING, State.RETAINED, State.READY])
def test_work__every_write_target__gets_every_write_and_deletion(collection: str, state: VectorCollection.State) -> None:
    name = secondary(state)
    kept, gone = create_users(2)
    assert work(uuid4(), 100) == BatchResult(written=2)
    assert points(name) == points() == ids([kept, gone])
    User.objects.filter(pk=gone).delete()
    assert work(uuid4(), 100) == BatchResult(removed=1)
    assert points(name) == points() == ids([kept])


@pytest.mark.parametrize("state", [State.BUILDING, State.RETAINED])
def test_work__missing_secondary__is_marked_failed(collection: str, state: VectorCollection.State) -> None:
    name = secondary(state, made=False)
    (user_id,) = create_users(1)
    assert work(uuid4(), 100) == BatchResult(written=1)
    assert state_of(name) == (State.FAILED, f"Qdrant has no collection {name!r}: make it with manage.py init_qdrant.")
    assert point_of(user_id) is not None
    assert queued() == 0


@pytest.mark.qdrant_server
@pytest.mark.parametrize("status", [500, 400])
def test_work__failing_secondary__is_marked_failed(server_collection: str, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    name = secondary()
    fail_in(monkeypatch, name, status)
    create_users(2)
    assert work(uuid4(), 100) == BatchResult(written=2)
    assert state_of(name)[0] == State.FAILED
    assert f"{collection_name()}_v1" == registry.live()
    assert (queued(), QuarantinedUser.objects.count()) == (0, 0)


def fail_in(monkeypatch: pytest.MonkeyPatch, name: str, status: int) -> None:
    upsert = conditional_write.upsert

    def fail_or_upsert(client: QdrantClient, collection: str, *arguments: Any, **options: Any) -> Any:
        if collection == name:
            raise answer(status)
        return upsert(client, collection, *arguments, **options)

    monkeypatch.setattr(conditional_write, "upsert", fail_or_upsert)


@pytest.mark.qdrant_server
def test_work__repeated_timeouts_of_a_secondary__marks_it_failed(server_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The live collection answers.

    One or two timeouts may come from a server that is just becoming unavailable.
    """
    name = secondary()
    (user_id,) = create_users(1)
    upsert = conditional_write.upsert

    def time_out_or_upsert(client: QdrantClient, collection: str, *arguments: Any, **options: Any) -> Any:
        if collection == name:
            raise ResponseHandlingException(httpx.ReadTimeout(""))
        return upsert(client, collection, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(conditional_write, "upsert", time_out_or_upsert)
        for _ in range(4):
            with pytest.raises(StoreUnavailable):
                work(uuid4(), 100)
    work(uuid4(), 100)  # an answer restarts the count of timeouts
    enqueue([user_id])
    monkeypatch.setattr(conditional_write, "upsert", time_out_or_upsert)
    for _ in range(4):
        with pytest.raises(StoreUnavailable):
            work(uuid4(), 100)
    assert state_of(name) == (State.BUILDING, "")
    assert work(uuid4(), 100) == BatchResult(written=1)
    state, failure_reason = state_of(name)
    assert (state, "did not answer within" in failure_reason) == (State.FAILED, True)


@pytest.mark.qdrant_server
def test_work__failing_secondary_that_became_live__is_not_marked_failed(server_collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The alias was just moved, and the row is not updated yet."""
    name = secondary(State.READY)
    fail_in(monkeypatch, name, 500)
    monkeypatch.setattr("vectorstore.catalog.secondary.alias_target", lambda _client: name)
    create_users(1)
    with pytest.raises(ServerError):
        work(uuid4(), 100)
    assert state_of(name) == (State.READY, "")
    assert queued() == 2


@pytest.mark.qdrant_server
def test_work__secondary_dropped_during_the_batch__blocks_no_user(server_collection: str) -> None:
    name = secondary(State.READY)
    create_users(1)
    claim = claimed()
    registry.mark_for_deletion(name)
    with qdrant() as client:
        client.delete_collection(name)
    assert carry_out(claim) == BatchResult(written=1)


@pytest.mark.qdrant_server
def test_work__live_collection_rejects_the_user_too__secondary_is_not_marked_failed(
    server_collection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = secondary()
    refused, valid = create_users(2)
    reject_users(monkeypatch, refused)
    work(uuid4(), 100)
    assert state_of(name) == (State.BUILDING, "")
    assert points(name) == points() == ids([valid])
    assert QuarantinedUser.objects.get().user_id == refused
