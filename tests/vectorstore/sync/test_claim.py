"""Claims (protocol rules 2, 3 and 7).

No two workers write the same user's point at the same time. A claim never waits for another worker.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import OperationalError, connection

from findme.environment import BASE_DIR
from tests.schema.rows import ask
from tests.support.commands import environment
from tests.support.sessions import another_connection
from tests.support.threads import in_thread
from tests.support.users import create_users
from tests.support.waiting import wait_until
from tests.vectorstore.sync.points import claimed, one, queued
from vectorstore.catalog import registry
from vectorstore.models import QuarantinedUser, QueueEntry, SyncLease, VectorCollection
from vectorstore.projection.points import points_of
from vectorstore.qdrant.errors import CollectionNotFound
from vectorstore.queue import transactions
from vectorstore.queue.entries import ALL_USERS, LOCK_OF, enqueue
from vectorstore.sync import claims as claiming
from vectorstore.sync.claims import Claim, claim_due, claim_users
from vectorstore.sync.leases import finish, release

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("registered")]

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


# --- One holder ------------------------------------------------------------------------------------------------------------------


def test_claim_due__takes_every_entry_of_a_user() -> None:
    first, other = uuid4(), uuid4()
    for user_id in (first, other, first):
        enqueue([user_id])
    claim = claimed(1)
    assert (claim.users, len(claim.entries)) == (frozenset([first]), 2)
    assert claimed().users == {other}
    assert claim_due(uuid4(), 10) is None


def test_claim_due__concurrent_claims__never_hold_the_same_user() -> None:
    """Four workers at the same time, each on its own connection."""
    user_ids = [uuid4() for _ in range(120)]
    for _ in range(2):
        enqueue(user_ids)

    def work() -> list[UUID]:
        worker, held = uuid4(), list[UUID]()
        for _ in range(60):
            if (claim := claim_due(worker, 4)) is not None:
                held += claim.users
        return held

    with in_thread(work) as a, in_thread(work) as b, in_thread(work) as c, in_thread(work) as d:
        held = [user_id for future in (a, b, c, d) for user_id in future.result(60)]
    assert sorted(held) == sorted(user_ids)


def test_claim_due__skips_a_user_that_another_worker_is_claiming() -> None:
    locked, free = uuid4(), uuid4()
    enqueue([locked])
    enqueue([free])
    with another_connection() as other, other.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute(f"SELECT pg_advisory_xact_lock({LOCK_OF}) FROM (SELECT %s::uuid AS person) asked", [locked])
        assert claimed().users == {free}
        assert claim_users(uuid4(), [locked]) is None
        cursor.execute("ROLLBACK")
    assert claimed().users == {locked}


def test_claim_due__finds_users_behind_a_locked_user_with_many_entries() -> None:
    locked, free = uuid4(), uuid4()
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO vector_sync_queue (user_id) SELECT %s FROM generate_series(1, 5000)", [locked])
    enqueue([free])
    with another_connection() as other, other.cursor() as cursor:
        cursor.execute(f"SELECT pg_advisory_lock({LOCK_OF}) FROM (SELECT %s::uuid AS person) asked", [locked])
        assert claimed(1).users == {free}


def test_claim_due__skips_an_expired_lease_while_its_holder_renews_it() -> None:
    (user_id,) = create_users(1)
    claimed()
    SyncLease.objects.update(expires_at=LONG_AGO)
    with another_connection() as other, other.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT FROM vector_sync_leases FOR UPDATE")
        assert claim_due(uuid4(), 10) is None
        cursor.execute("ROLLBACK")
    assert claimed().users == {user_id}


def test_claim_due__fails_after_the_lock_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactions, "LOCK_SECONDS", 0.05)
    enqueue([uuid4()])
    ask("SET statement_timeout = '30s'")
    with another_connection() as other, other.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("LOCK TABLE vector_sync_queue")
        with pytest.raises(OperationalError, match="lock timeout"):
            claim_due(uuid4(), 10)
        cursor.execute("ROLLBACK")
    ask("RESET statement_timeout")


FROZEN = """
import os, signal
from vectorstore.catalog import registry
from vectorstore.sync import claims as claim
from vectorstore.queue import transactions
from vectorstore.sync.worker import Worker

transactions.IDLE_SECONDS = 1
written = registry.targets

def frozen():
    registry.targets = written
    os.kill(os.getpid(), signal.SIGSTOP)
    return written()

registry.targets = frozen
worker = Worker()
try:
    claim.claim_due(worker.id, 10)
except Exception as error:
    print(type(error).__name__)
    worker.note_unavailable(error)
print(claim.claim_due(worker.id, 10))
"""


def test_claim_due__frozen_worker__loses_its_session_and_works_again() -> None:
    """A frozen worker holds its users' locks, so no other worker could claim them.

    After it resumes, it works again.
    """
    user_id = uuid4()
    enqueue([user_id])
    script = f"import django\ndjango.setup()\n{FROZEN}"
    with subprocess.Popen([sys.executable, "-c", script], cwd=BASE_DIR, env=environment(), stdout=subprocess.PIPE, text=True) as frozen:
        try:
            os.waitpid(frozen.pid, os.WUNTRACED)
            found: list[Claim] = []

            def claims() -> bool:
                found.extend(filter(None, [claim_due(uuid4(), 10)]))
                return bool(found)

            wait_until(claims, "The claim")
            assert found[0].users == {user_id}
            frozen.send_signal(signal.SIGCONT)
            assert frozen.communicate(timeout=60)[0] == "InternalError\nNone\n"
        finally:
            frozen.kill()


# --- Deleted entries -------------------------------------------------------------------------------------------------------------


def test_finish__keeps_an_entry_queued_during_the_batch() -> None:
    user_id = uuid4()
    enqueue([user_id])
    claim = claimed()
    enqueue([user_id])
    assert finish(claim) == 0
    assert queued(user_id) == 1


def test_finish__keeps_a_low_entry_id_that_is_committed_late() -> None:
    user_id = uuid4()
    with another_connection() as other, other.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("INSERT INTO vector_sync_queue (user_id) VALUES (%s) RETURNING id", [user_id])
        (low,) = cursor.fetchone()
        enqueue([user_id])
        claim = claimed()
        assert [entry.id > low for entry in claim.entries] == [True]
        cursor.execute("COMMIT")
    finish(claim)
    assert list(QueueEntry.objects.values_list("id", flat=True)) == [low]


def test_claim_due__skips_entries_that_are_not_due() -> None:
    user_id = uuid4()
    QueueEntry.objects.create(user_id=user_id, not_before=datetime(2100, 1, 1, tzinfo=UTC))
    QueueEntry.objects.create(user_id=user_id, awaits_ack=True)
    assert claim_due(uuid4(), 10) is None
    enqueue([user_id])
    claim = claimed()
    assert len(claim.entries) == 1
    finish(claim)
    assert queued(user_id) == 2
    QueueEntry.objects.update(not_before=LONG_AGO, awaits_ack=False)
    assert len(claimed().entries) == 2


# --- Leases ----------------------------------------------------------------------------------------------------------------------


def test_claim_due__expired_lease__changes_hands_and_queues_a_recheck() -> None:
    user_id = uuid4()
    enqueue([user_id])
    late = claimed()
    SyncLease.objects.update(expires_at=LONG_AGO)
    claim = claimed()
    assert (claim.users, claim.version > late.version) == (frozenset([user_id]), True)
    assert QueueEntry.objects.filter(user_id=user_id, awaits_ack=True, urgent=True, not_before=None).count() == 1
    assert SyncLease.objects.get().worker_id == claim.worker
    # The late worker neither releases the other worker's lease nor deletes entries. It queues a recheck of the user.
    assert finish(late) == 1
    assert SyncLease.objects.get().worker_id == claim.worker
    assert queued(user_id) == 2


def test_claim_due__expired_lease__recheck_is_in_the_same_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    enqueue([uuid4()])
    claimed()
    SyncLease.objects.update(expires_at=LONG_AGO)
    monkeypatch.setattr(registry, "targets", lambda: registry.Targets((), ()))
    with pytest.raises(CollectionNotFound):
        claimed()
    assert not QueueEntry.objects.filter(awaits_ack=True).exists()
    assert SyncLease.objects.get().expires_at == LONG_AGO


def test_claim_users__leases_queued_and_unqueued_users() -> None:
    held, queued_one, neither = uuid4(), uuid4(), uuid4()
    enqueue([held])
    claimed()
    enqueue([queued_one])
    claim = claim_users(uuid4(), [held, queued_one, neither, neither], collections=("some_v7",))
    assert claim is not None
    assert (claim.users, claim.entries, claim.collections) == (frozenset([queued_one, neither]), (), ("some_v7",))
    assert claim_due(uuid4(), 10) is None
    finish(claim)
    assert claimed().users == {queued_one}
    assert claim_users(uuid4(), []) is None


def test_claim_due__truncate__one_worker_holds_all_users() -> None:
    """After a TRUNCATE the removed users are unknown: one worker at a time compares all users."""
    ask("INSERT INTO vector_sync_queue (user_id, urgent) VALUES (NULL, true), (NULL, true)")
    other = uuid4()
    enqueue([other], urgent=True)
    claim = claimed()
    assert (claim.all_users, claim.users, len(claim.entries)) == (True, frozenset({ALL_USERS}), 2)  # no other user is leased meanwhile
    assert claimed().users == {other}
    assert claim_due(uuid4(), 10) is None
    for _ in range(2):  # however often the store is unavailable, there is one recheck
        release(claim, unanswered=True)
        claim = claimed()
    assert QueueEntry.objects.filter(user_id=None, awaits_ack=True).count() == 1
    finish(claim)
    assert SyncLease.objects.filter(pk=ALL_USERS).count() == 0


def test_finish__deletes_an_entry_with_the_id_of_all_users() -> None:
    """No user with an embedding has this id. A row of ``users`` may have it, and a caller may queue it."""
    enqueue([ALL_USERS])
    claim = claimed()
    assert claim.all_users
    finish(claim)
    assert not queued()


def test_claim_due__ends_the_quarantine_of_changed_users() -> None:
    user_id, locked = uuid4(), uuid4()
    for quarantined in (user_id, locked):
        QuarantinedUser.objects.create(user_id=quarantined, reason="", collection="")
    enqueue([user_id, locked])
    with another_connection() as other, other.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("DELETE FROM vector_sync_quarantine WHERE user_id = %s", [locked])
        assert claimed().users == {user_id, locked}  # without waiting
        cursor.execute("COMMIT")
    assert not QuarantinedUser.objects.exists()


# --- The version -----------------------------------------------------------------------------------------------------------------


def test_claim__allocates_the_version_after_the_users_are_leased(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a worker that held the users in the meantime could have a higher version and older rows."""
    allocated: list[int] = []
    lease = claiming._lease

    def leased(*arguments: Any) -> list[UUID]:
        leased_ids = lease(*arguments)
        with another_connection() as other, other.cursor() as cursor:
            cursor.execute("SELECT nextval('vector_sync_version')")
            allocated.append(cursor.fetchone()[0])
        return leased_ids

    monkeypatch.setattr(claiming, "_lease", leased)
    enqueue([uuid4()])
    assert claimed().version > allocated[0]
    claim = claim_users(uuid4(), [uuid4()])
    assert claim is not None and claim.version > allocated[1]


def test_claim__each_statement_sees_what_was_committed_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """For any default of the database or the role (``findme.database_url``).

    With one snapshot for all statements, a user could be leased twice.
    """
    seen: list[tuple[str, ...]] = []
    written = registry.targets

    def record_settings() -> registry.Targets:
        names = ("transaction_isolation", "synchronous_commit", "lock_timeout", "idle_in_transaction_session_timeout")
        seen.append(tuple(one(f"SHOW {name}") for name in names))
        return written()

    monkeypatch.setattr(registry, "targets", record_settings)
    ask("SET default_transaction_isolation = 'repeatable read'; SET synchronous_commit = off")
    enqueue([uuid4()])
    claimed()
    ask("RESET default_transaction_isolation; RESET synchronous_commit")
    assert seen == [("read committed", "on", "2s", "5s")]


def test_claim__reads_the_rows_after_the_version_is_allocated(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows contain a change that is committed in between.

    So no worker with a higher version has older rows.
    """
    (user_id,) = create_users(1)
    written = registry.targets

    def change_user_first() -> registry.Targets:
        with another_connection() as other, other.cursor() as cursor:
            cursor.execute("UPDATE users SET gender = 'other', active = false WHERE id = %s", [user_id])
        return written()

    monkeypatch.setattr(registry, "targets", change_user_first)
    claim = claimed()
    (point,) = points_of(claim).due
    assert point.payload is not None
    assert (point.payload["gender"], point.payload["active"], point.payload["version"]) == ("other", False, claim.version)


def test_claim__reads_the_collections_after_the_users_are_leased(monkeypatch: pytest.MonkeyPatch, registered: str) -> None:
    """A build begins after its row is committed.

    It then sees the earlier claim's users as leased, or the claim sees its collection.
    """
    lease = claiming._lease

    def leased(*arguments: Any) -> list[UUID]:
        leased_ids = lease(*arguments)
        registry.register("profile_embeddings_v2", VectorCollection.State.BUILDING, "")
        return leased_ids

    monkeypatch.setattr(claiming, "_lease", leased)
    enqueue([uuid4()])
    assert claimed().collections == (registered, "profile_embeddings_v2")


# --- The lanes -------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def long_queue() -> None:
    """Deferred entries at the head, then entries of leased users, then 100,000 entries of a bulk load."""
    ask("INSERT INTO vector_sync_queue (user_id, awaits_ack) SELECT gen_random_uuid(), true FROM generate_series(1, 2000)")
    ask(
        "INSERT INTO vector_sync_queue (user_id, urgent, not_before) SELECT gen_random_uuid(), true, '2100-01-01' FROM generate_series(1, 2000)"
    )
    ask(
        """
        WITH held AS (INSERT INTO vector_sync_queue (user_id) SELECT gen_random_uuid() FROM generate_series(1, 2000) RETURNING user_id)
        INSERT INTO vector_sync_leases SELECT user_id, gen_random_uuid(), clock_timestamp() + interval '1 hour' FROM held
        """
    )
    ask("INSERT INTO vector_sync_queue (user_id) SELECT gen_random_uuid() FROM generate_series(1, 100000)")
    ask("ANALYZE vector_sync_queue, vector_sync_leases")


@contextmanager
def plans() -> Iterator[list[str]]:
    """Yield the plans of the statements that the block executes and that read the queue."""
    found: list[str] = []

    def explain_and_execute(execute: Any, sql: str, parameters: Any, many: bool, context: Any) -> Any:
        if "FROM vector_sync_queue" in sql and not sql.startswith("EXPLAIN"):
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", parameters)
                found.append(json.dumps(cursor.fetchone()[0]))
        return execute(sql, parameters, many, context)

    with connection.execute_wrapper(explain_and_execute):
        yield found


def sequential_scans(plan: Any) -> Iterator[str]:
    """Return the tables that the plan reads completely."""
    match plan:
        case {"Node Type": "Seq Scan", "Relation Name": name}:
            yield name
    for part in plan.values() if isinstance(plan, dict) else plan if isinstance(plan, list) else ():
        yield from sequential_scans(part)


@pytest.mark.usefixtures("long_queue")
def test_claim_due__a_deletion_overtakes_a_bulk_load() -> None:
    gone = uuid4()
    enqueue([gone], urgent=True)
    with plans() as found:
        claim = claimed(10)
    assert gone in claim.users
    assert len(claim.users) == 10
    assert len(found) == 2
    assert "vector_sync_queue" not in [name for plan in found for name in sequential_scans(json.loads(plan))]
    assert finish(claim) == 0


@pytest.mark.usefixtures("long_queue")
def test_claim_due__among__takes_only_these_users() -> None:
    (user_id,) = create_users(1)
    with plans() as found:
        claim = claim_due(uuid4(), 10, among=[user_id, uuid4()])
    assert claim is not None and claim.users == {user_id}
    assert "vector_sync_queue" not in [name for plan in found for name in sequential_scans(json.loads(plan))]


def test_claim_due__without_a_collection__fails_and_leases_no_user() -> None:
    VectorCollection.objects.all().delete()
    enqueue([uuid4()])
    with pytest.raises(CollectionNotFound):
        claim_due(uuid4(), 10)
    assert not SyncLease.objects.exists()
    assert one("SELECT count(*) FROM vector_sync_queue") == 1


def test_points_of__a_row_that_python_cannot_read__does_not_block_others(dates_unchecked: None) -> None:
    unreadable, valid = create_users(2)
    ask("UPDATE users SET created_at = 'infinity' WHERE id = %s", unreadable)
    points = points_of(claimed())
    assert ([point.id for point in points.due], points.unusable) == ([str(valid)], [unreadable])
