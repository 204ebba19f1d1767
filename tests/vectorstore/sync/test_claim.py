"""Nobody writes a person's point beside another, and whoever claims waits for nobody (protocol, rules 2, 3 and 7)."""

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
from tests.privacy.elsewhere import another_connection, in_a_thread
from tests.support.waiting import wait_until
from tests.vectorstore.commands import environment
from tests.vectorstore.sync.people import one, people, plain_sql, queued
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


def claimed(limit: int = 10) -> Claim:
    claim = claim_due(uuid4(), limit)
    assert claim is not None
    return claim


# --- One holder ------------------------------------------------------------------------------------------------------------------


def test_claim_due__takes_every_entry_of_a_person() -> None:
    first, other = uuid4(), uuid4()
    for person in (first, other, first):
        enqueue([person])
    claim = claimed(1)
    assert (claim.users, len(claim.entries)) == (frozenset([first]), 2)
    assert claimed().users == {other}
    assert claim_due(uuid4(), 10) is None


def test_claim_due__many_at_once_never_hold_one_person() -> None:
    """Really at once, each on a connection of its own."""
    everybody = [uuid4() for _ in range(120)]
    for _ in range(2):
        enqueue(everybody)

    def work() -> list[UUID]:
        worker, held = uuid4(), list[UUID]()
        for _ in range(60):
            if (claim := claim_due(worker, 4)) is not None:
                held += claim.users
        return held

    with in_a_thread(work) as a, in_a_thread(work) as b, in_a_thread(work) as c, in_a_thread(work) as d:
        held = [person for future in (a, b, c, d) for person in future.result(60)]
    assert sorted(held) == sorted(everybody)


def test_claim_due__passes_over_whom_another_is_just_claiming() -> None:
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


def test_claim_due__others_are_found_behind_somebody_who_is_locked_and_has_many_entries() -> None:
    locked, free = uuid4(), uuid4()
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO vector_sync_queue (user_id) SELECT %s FROM generate_series(1, 5000)", [locked])
    enqueue([free])
    with another_connection() as other, other.cursor() as cursor:
        cursor.execute(f"SELECT pg_advisory_lock({LOCK_OF}) FROM (SELECT %s::uuid AS person) asked", [locked])
        assert claimed(1).users == {free}


def test_claim_due__passes_over_an_expired_lease_that_is_just_being_renewed() -> None:
    (person,) = people(1)
    claimed()
    SyncLease.objects.update(expires_at=LONG_AGO)
    with another_connection() as other, other.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT FROM vector_sync_leases FOR UPDATE")
        assert claim_due(uuid4(), 10) is None
        cursor.execute("ROLLBACK")
    assert claimed().users == {person}


def test_claim_due__waits_for_no_lock_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactions, "LOCK_SECONDS", 0.05)
    enqueue([uuid4()])
    plain_sql("SET statement_timeout = '30s'")
    with another_connection() as other, other.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("LOCK TABLE vector_sync_queue")
        with pytest.raises(OperationalError, match="lock timeout"):
            claim_due(uuid4(), 10)
        cursor.execute("ROLLBACK")
    plain_sql("RESET statement_timeout")


FROZEN = """
import os, signal
from vectorstore.catalog import registry
from vectorstore.sync import claims as claim
from vectorstore.queue import transactions
from vectorstore.sync.worker import Worker

transactions.IDLE_SECONDS = 1
written = registry.write_targets

def frozen():
    registry.write_targets = written
    os.kill(os.getpid(), signal.SIGSTOP)
    return written()

registry.write_targets = frozen
worker = Worker()
try:
    claim.claim_due(worker.id, 10)
except Exception as error:
    print(type(error).__name__)
    worker.note_unavailable(error)
print(claim.claim_due(worker.id, 10))
"""


def test_claim_due__frozen_in_the_middle_is_thrown_out() -> None:
    """It holds its people's locks: nobody else could claim them. When it goes on, it works again."""
    person = uuid4()
    enqueue([person])
    script = f"import django\ndjango.setup()\n{FROZEN}"
    with subprocess.Popen([sys.executable, "-c", script], cwd=BASE_DIR, env=environment(), stdout=subprocess.PIPE, text=True) as frozen:
        try:
            os.waitpid(frozen.pid, os.WUNTRACED)
            found: list[Claim] = []

            def claims() -> bool:
                found.extend(filter(None, [claim_due(uuid4(), 10)]))
                return bool(found)

            wait_until(claims, "The claim")
            assert found[0].users == {person}
            frozen.send_signal(signal.SIGCONT)
            assert frozen.communicate(timeout=60)[0] == "InternalError\nNone\n"
        finally:
            frozen.kill()


# --- What is dropped -------------------------------------------------------------------------------------------------------------


def test_finish__a_change_that_is_queued_during_the_batch_stays() -> None:
    person = uuid4()
    enqueue([person])
    claim = claimed()
    enqueue([person])
    assert finish(claim) == 0
    assert queued(person) == 1


def test_finish__a_long_transaction_that_commits_a_low_id_late_is_not_dropped() -> None:
    person = uuid4()
    with another_connection() as other, other.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("INSERT INTO vector_sync_queue (user_id) VALUES (%s) RETURNING id", [person])
        (low,) = cursor.fetchone()
        enqueue([person])
        claim = claimed()
        assert [entry.id > low for entry in claim.entries] == [True]
        cursor.execute("COMMIT")
    finish(claim)
    assert list(QueueEntry.objects.values_list("id", flat=True)) == [low]


def test_claim_due__takes_no_entry_that_is_not_due() -> None:
    person = uuid4()
    QueueEntry.objects.create(user_id=person, not_before=datetime(2100, 1, 1, tzinfo=UTC))
    QueueEntry.objects.create(user_id=person, awaits_ack=True)
    assert claim_due(uuid4(), 10) is None
    enqueue([person])
    claim = claimed()
    assert len(claim.entries) == 1
    finish(claim)
    assert queued(person) == 2
    QueueEntry.objects.update(not_before=LONG_AGO, awaits_ack=False)
    assert len(claimed().entries) == 2


# --- Leases ----------------------------------------------------------------------------------------------------------------------


def test_claim_due__takes_over_an_expired_lease_and_queues_a_recheck() -> None:
    person = uuid4()
    enqueue([person])
    late = claimed()
    SyncLease.objects.update(expires_at=LONG_AGO)
    claim = claimed()
    assert (claim.users, claim.version > late.version) == (frozenset([person]), True)
    assert QueueEntry.objects.filter(user_id=person, awaits_ack=True, urgent=True, not_before=None).count() == 1
    assert SyncLease.objects.get().worker_id == claim.worker
    # Whoever comes late gives nothing back that is no longer theirs, drops nothing, and has the person looked at again.
    assert finish(late) == 1
    assert SyncLease.objects.get().worker_id == claim.worker
    assert queued(person) == 2


def test_claim_due__a_recheck_is_queued_in_the_transaction_that_takes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    enqueue([uuid4()])
    claimed()
    SyncLease.objects.update(expires_at=LONG_AGO)
    monkeypatch.setattr(registry, "write_targets", lambda: ())
    with pytest.raises(CollectionNotFound):
        claimed()
    assert not QueueEntry.objects.filter(awaits_ack=True).exists()
    assert SyncLease.objects.get().expires_at == LONG_AGO


def test_claim_people__whether_they_are_queued_or_not() -> None:
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


def test_claim__of_all_users() -> None:
    """After a TRUNCATE there is nobody to name: one worker at a time compares everyone."""
    plain_sql("INSERT INTO vector_sync_queue (user_id, urgent) VALUES (NULL, true), (NULL, true)")
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


def test_finish__an_entry_of_the_id_that_stands_for_all_users_is_dropped() -> None:
    """Nobody with an embedding has it; a row of ``users`` may, and so may whoever queues people."""
    enqueue([ALL_USERS])
    claim = claimed()
    assert claim.all_users
    finish(claim)
    assert not queued()


def test_claim_due__takes_users_that_have_changed_out_of_quarantine() -> None:
    person, locked = uuid4(), uuid4()
    for quarantined in (person, locked):
        QuarantinedUser.objects.create(user_id=quarantined, reason="", collection="")
    enqueue([person, locked])
    with another_connection() as other, other.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("DELETE FROM vector_sync_quarantine WHERE user_id = %s", [locked])
        assert claimed().users == {person, locked}  # without waiting
        cursor.execute("COMMIT")
    assert not QuarantinedUser.objects.exists()


# --- The version -----------------------------------------------------------------------------------------------------------------


def test_claim__the_version_is_allocated_after_the_users_are_leased(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or another one who held them meanwhile could have a higher version, and older rows."""
    allocated: list[int] = []
    lease = claiming._lease

    def leased(*arguments: Any) -> list[UUID]:
        people = lease(*arguments)
        with another_connection() as other, other.cursor() as cursor:
            cursor.execute("SELECT nextval('vector_sync_version')")
            allocated.append(cursor.fetchone()[0])
        return people

    monkeypatch.setattr(claiming, "_lease", leased)
    enqueue([uuid4()])
    assert claimed().version > allocated[0]
    claim = claim_users(uuid4(), [uuid4()])
    assert claim is not None and claim.version > allocated[1]


def test_claim__each_statement_sees_what_was_committed_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the default of the database, or of the role, is (``findme.database_url``): with one snapshot for all, a person could be leased twice."""
    seen: list[tuple[str, ...]] = []
    written = registry.write_targets

    def looked_at() -> tuple[str, ...]:
        names = ("transaction_isolation", "synchronous_commit", "lock_timeout", "idle_in_transaction_session_timeout")
        seen.append(tuple(one(f"SHOW {name}") for name in names))
        return written()

    monkeypatch.setattr(registry, "write_targets", looked_at)
    plain_sql("SET default_transaction_isolation = 'repeatable read'; SET synchronous_commit = off")
    enqueue([uuid4()])
    claimed()
    plain_sql("RESET default_transaction_isolation; RESET synchronous_commit")
    assert seen == [("read committed", "on", "2s", "5s")]


def test_claim__the_rows_are_read_after_the_version_is_allocated(monkeypatch: pytest.MonkeyPatch) -> None:
    """A change that is committed in between is in them: nobody with a higher version has older rows."""
    (person,) = people(1)
    written = registry.write_targets

    def changed_meanwhile() -> tuple[str, ...]:
        with another_connection() as other, other.cursor() as cursor:
            cursor.execute("UPDATE users SET gender = 'other', active = false WHERE id = %s", [person])
        return written()

    monkeypatch.setattr(registry, "write_targets", changed_meanwhile)
    claim = claimed()
    (point,) = points_of(claim).due
    assert point.payload is not None
    assert (point.payload["gender"], point.payload["active"], point.payload["version"]) == ("other", False, claim.version)


def test_claim__the_collections_are_read_after_the_people_are_leased(monkeypatch: pytest.MonkeyPatch, registered: str) -> None:
    """A builder that begins after its row is committed sees whoever was claimed before as held, or is told of here."""
    lease = claiming._lease

    def leased(*arguments: Any) -> list[UUID]:
        people = lease(*arguments)
        registry.register("profile_embeddings_v2", VectorCollection.State.BUILDING, "")
        return people

    monkeypatch.setattr(claiming, "_lease", leased)
    enqueue([uuid4()])
    assert claimed().collections == (registered, "profile_embeddings_v2")


# --- The lanes -------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def long_queue() -> None:
    """Waiting ones at its head, then people who are held, then 100,000 of a bulk load."""
    plain_sql("INSERT INTO vector_sync_queue (user_id, awaits_ack) SELECT gen_random_uuid(), true FROM generate_series(1, 2000)")
    plain_sql(
        "INSERT INTO vector_sync_queue (user_id, urgent, not_before) SELECT gen_random_uuid(), true, '2100-01-01' FROM generate_series(1, 2000)"
    )
    plain_sql(
        """
        WITH held AS (INSERT INTO vector_sync_queue (user_id) SELECT gen_random_uuid() FROM generate_series(1, 2000) RETURNING user_id)
        INSERT INTO vector_sync_leases SELECT user_id, gen_random_uuid(), clock_timestamp() + interval '1 hour' FROM held
        """
    )
    plain_sql("INSERT INTO vector_sync_queue (user_id) SELECT gen_random_uuid() FROM generate_series(1, 100000)")
    plain_sql("ANALYZE vector_sync_queue, vector_sync_leases")


@contextmanager
def plans() -> Iterator[list[str]]:
    """The plans of the statements that are executed in the block and read the queue."""
    found: list[str] = []

    def explained(execute: Any, sql: str, parameters: Any, many: bool, context: Any) -> Any:
        if "FROM vector_sync_queue" in sql and not sql.startswith("EXPLAIN"):
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", parameters)
                found.append(json.dumps(cursor.fetchone()[0]))
        return execute(sql, parameters, many, context)

    with connection.execute_wrapper(explained):
        yield found


def scans(plan: Any) -> Iterator[str]:
    """Of whole tables."""
    match plan:
        case {"Node Type": "Seq Scan", "Relation Name": name}:
            yield name
    for part in plan.values() if isinstance(plan, dict) else plan if isinstance(plan, list) else ():
        yield from scans(part)


@pytest.mark.usefixtures("long_queue")
def test_claim_due__a_deletion_overtakes_a_bulk_load() -> None:
    gone = uuid4()
    enqueue([gone], urgent=True)
    with plans() as found:
        claim = claimed(10)
    assert gone in claim.users
    assert len(claim.users) == 10
    assert len(found) == 2
    assert "vector_sync_queue" not in [name for plan in found for name in scans(json.loads(plan))]
    assert finish(claim) == 0


@pytest.mark.usefixtures("long_queue")
def test_claim_due__among_some_people() -> None:
    (person,) = people(1)
    with plans() as found:
        claim = claim_due(uuid4(), 10, among=[person, uuid4()])
    assert claim is not None and claim.users == {person}
    assert "vector_sync_queue" not in [name for plan in found for name in scans(json.loads(plan))]


def test_claim_due__before_there_is_a_collection() -> None:
    VectorCollection.objects.all().delete()
    enqueue([uuid4()])
    with pytest.raises(CollectionNotFound):
        claim_due(uuid4(), 10)
    assert not SyncLease.objects.exists()
    assert one("SELECT count(*) FROM vector_sync_queue") == 1


def test_points_of__a_row_that_python_cannot_read_holds_nobody_up(dates_unchecked: None) -> None:
    odd, fine = people(2)
    plain_sql("UPDATE users SET created_at = 'infinity' WHERE id = %s", odd)
    points = points_of(claimed())
    assert ([point.id for point in points.due], points.unusable) == ([str(fine)], [odd])
