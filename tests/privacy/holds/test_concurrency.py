"""A hold and a deletion never pass each other, and an erasure around a hold that is killed is completed."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.db import DatabaseError, connections
from psycopg.errors import RestrictViolation, SerializationFailure

from accounts.models import User
from calls.models import VideoCall
from findme.core.errors import UserFacingError
from matching.models import Match
from privacy.actions.erase import erase
from privacy.actions.holds import hold, release
from privacy.actions.outcome import Outcome
from privacy.actions.pending import process_pending
from privacy.ledger.book import entries_of
from privacy.ledger.entry import Kind
from privacy.models import Hold, PendingAction
from privacy.models.holds import Article, Section
from privacy.users import anonymized_email
from tests.privacy.holds.test_table import MODELS
from tests.privacy.life import full_life
from tests.privacy.shelf import Shelf
from tests.privacy.test_recording import KILLED
from tests.support.collections import live as live
from tests.support.commands import environment
from tests.support.processes import run_program
from tests.support.seeds import kill_seeds
from tests.support.sessions import another_connection, is_waiting_for_lock
from tests.support.threads import in_thread
from tests.support.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

CLAIMS = Article.LEGAL_CLAIMS
SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM users"
INSERT = "INSERT INTO holds (user_id, section, article, set_by_account) VALUES (%s, 'matches', '17_3_e', 'root')"


@pytest.mark.parametrize(
    ("isolation", "statement"),
    [
        *(("READ COMMITTED", statement) for statement in ("DELETE FROM users", "DELETE FROM matches", "TRUNCATE matches CASCADE")),
        *(("REPEATABLE READ", statement) for statement in ("DELETE FROM users", "DELETE FROM matches")),
    ],
)
def test_deletion__waits_for_an_uncommitted_hold_and_is_refused(statement: str, isolation: str) -> None:
    person = full_life()

    def delete() -> None:
        with another_connection() as session, session.cursor() as deleting:
            deleting.execute(f"BEGIN ISOLATION LEVEL {isolation}; {statement}; COMMIT")

    with another_connection() as other, other.cursor() as cursor:
        cursor.execute(f"BEGIN; {INSERT}", [person.pk])
        with in_thread(delete) as deletion:
            wait_until(is_waiting_for_lock)
            cursor.execute("COMMIT")
            with pytest.raises(DatabaseError) as refused:
                deletion.result()
    assert isinstance(refused.value.__cause__, RestrictViolation | SerializationFailure)
    assert User.objects.filter(pk=person.pk).exists() and Match.objects.count() == 2


@pytest.mark.parametrize("statement", ["DELETE FROM users", "DELETE FROM matches"])
def test_deletion__with_an_older_snapshot__is_refused(statement: str) -> None:
    """Such a transaction does not see the hold."""
    person = full_life()
    with another_connection() as other, other.cursor() as cursor:
        cursor.execute(SNAPSHOT)
        hold(person.pk, Section.MATCHES, CLAIMS)
        with pytest.raises(DatabaseError) as refused:
            cursor.execute(statement)
    assert isinstance(refused.value.__cause__, SerializationFailure)
    assert Match.objects.count() == 2


@pytest.mark.parametrize("table", ["users", "videos", "matches", "video_calls"])
def test_truncation__with_an_older_snapshot__is_refused(table: str) -> None:
    person = full_life()
    with another_connection() as other, other.cursor() as cursor:
        cursor.execute(SNAPSHOT)
        hold(person.pk, Section.CALLS, CLAIMS)
        with pytest.raises(DatabaseError, match="needs the isolation level READ COMMITTED") as refused:
            cursor.execute(f"TRUNCATE {table} CASCADE")
    assert isinstance(refused.value.__cause__, SerializationFailure)


def test_hold__waits_for_an_uncommitted_deletion(shelf: Shelf) -> None:
    person = full_life()
    with another_connection() as other, other.cursor() as cursor:
        cursor.execute("BEGIN; DELETE FROM users WHERE id = %s", [person.pk])
        with in_thread(lambda: hold(person.pk, Section.MATCHES, CLAIMS)) as holding:
            wait_until(is_waiting_for_lock)
            cursor.execute("COMMIT")
            with pytest.raises(UserFacingError, match=r"^PostgreSQL has no user with the id"):
                holding.result()
    assert not Hold.objects.exists()


def test_hold__of_rows_that_another_transaction_deletes__waits() -> None:
    """The deletion of the matches does not lock the user. The hold begins only after it, and keeps what is left."""
    person = full_life()
    with another_connection() as other, other.cursor() as cursor:
        cursor.execute("BEGIN; DELETE FROM matches")
        with in_thread(lambda: hold(person.pk, Section.MATCHES, CLAIMS)) as holding:
            wait_until(is_waiting_for_lock)
            cursor.execute("COMMIT")
            assert holding.result().section == "matches"
    assert not Match.objects.exists()


def test_erasure__two_processes__erase_once(shelf: Shelf) -> None:
    person = full_life()
    hold(person.pk, Section.MATCHES, CLAIMS)
    both = Barrier(2)

    def run(_number: int) -> Outcome:
        try:
            both.wait()
            return erase(person.pk)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        changed = sorted(outcome.changed for outcome in pool.map(run, range(2)))
    assert changed == [False, True]
    assert list(PendingAction.objects.values_list("kind", "is_held")) == [(Kind.ERASE, True)]
    assert Kind.ERASE in {entry.kind for entry in entries_of(person.pk)}
    assert Match.objects.count() == 2 and not VideoCall.objects.exists()


@pytest.mark.parametrize("seed", kill_seeds(2))
def test_erasure__killed_over_and_over__keeps_what_is_held_and_ends_complete(seed: int, shelf: Shelf, live: str) -> None:
    """Kill the process at a random statement or access to the ledger, before and after the end of the hold."""
    chance = random.Random(seed)  # a fixed seed, no secret
    person = full_life()
    section = chance.choice(list(Section))
    held = hold(person.pk, section, CLAIMS)

    def run_killed() -> None:
        killed = run_program(environment(), "-c", KILLED, chance.randrange(120), "erase", person.pk)
        assert killed.returncode in (-9, 0, 2), killed.stderr

    def complete() -> None:
        process_pending()
        if not entries_of(person.pk):
            erase(person.pk)

    run_killed()
    complete()
    assert User.objects.get(pk=person.pk).email == anonymized_email(person.pk)
    assert MODELS[section].objects.exists()
    assert list(PendingAction.objects.values_list("kind", "is_held")) == [(Kind.ERASE, True)]
    release(held.pk)
    run_killed()
    complete()
    assert not User.objects.filter(pk=person.pk).exists() and not PendingAction.objects.exists()
    assert [entry.kind for entry in entries_of(person.pk)] == [Kind.ERASE]
