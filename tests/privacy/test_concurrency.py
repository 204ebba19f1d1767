"""Two concurrent actions on real connections: in any order, no user is erased only in part."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any
from uuid import UUID

import pytest
from django.db import IntegrityError, connections
from django.db.backends.utils import CursorWrapper

from accounts.models import User
from findme.core.errors import UserFacingError
from matching.models import Match
from privacy.actions.erase import erase
from privacy.actions.outcome import Outcome
from tests.factories import UserFactory
from tests.privacy.shelf import Shelf
from tests.support.sessions import another_connection, is_waiting_for_lock
from tests.support.threads import Running, in_thread
from tests.support.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def insert_match(cursor: CursorWrapper, one: UUID, other: UUID) -> None:
    cursor.execute(
        "INSERT INTO matches (user_id, matched_user_id, week_number, year, match_score, expires_at) VALUES (%s, %s, 1, 2025, 0.5, NOW())",
        [one, other],
    )


def test_erase__two_concurrent_runs(shelf: Shelf) -> None:
    person = UserFactory.create()
    shelf.ids.add(person.pk)
    both = Barrier(2)

    def run(_number: int) -> Outcome | UserFacingError:
        try:
            both.wait()
            return erase(person.pk)
        except UserFacingError as refused:
            return refused
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        results: list[Any] = sorted(pool.map(run, range(2)), key=lambda result: not getattr(result, "changed", False))
    first, second = results
    assert first.changed
    # The second run has looked for the user before the first one committed, or afterwards.
    if isinstance(second, Outcome):
        assert not second.changed
    else:
        assert str(second) == f"Neither PostgreSQL nor the shelf has a user with the id '{person.pk}'."
    assert not User.objects.filter(pk=person.pk).exists()
    assert shelf.ids == set()


@pytest.mark.at_length
def test_erase__match_inserted_before_and_committed_after(shelf: Shelf) -> None:
    person, other_person = UserFactory.create_batch(2)
    with another_connection() as other, other.cursor() as cursor:
        cursor.execute("BEGIN")
        insert_match(cursor, person.pk, other_person.pk)
        with pytest.raises(UserFacingError, match="Another transaction holds the rows"):
            erase(person.pk)
        cursor.execute("COMMIT")
    assert erase(person.pk).changed
    assert not Match.objects.exists()


def test_erase__match_inserted_during_the_deletion(shelf: Shelf) -> None:
    """The INSERT waits for the erasure, and is then refused."""
    person, other_person = UserFactory.create_batch(2)

    def insert() -> None:
        with another_connection() as other, other.cursor() as cursor:
            insert_match(cursor, person.pk, other_person.pk)

    def insert_meanwhile() -> None:
        inserting.append(in_thread(insert))
        wait_until(is_waiting_for_lock, "The insertion waits")

    inserting: list[Running[None]] = []
    shelf.before_removal = insert_meanwhile
    assert erase(person.pk).changed
    with pytest.raises(IntegrityError, match=f"User {person.pk} was anonymized or deleted for good"):
        inserting[0].result()
    assert not Match.objects.exists()


def test_erase__match_checked_before_and_committed_while_the_erasure_waits(shelf: Shelf) -> None:
    """The erasure waits for the INSERT, and deletes the match too."""
    person, other_person = UserFactory.create_batch(2)
    with another_connection() as other, other.cursor() as cursor:
        cursor.execute("BEGIN")
        insert_match(cursor, person.pk, other_person.pk)
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        with in_thread(lambda: erase(person.pk)) as erased:
            wait_until(is_waiting_for_lock, "The erasure waits")
            cursor.execute("COMMIT")
    assert erased.result().changed
    assert not Match.objects.exists()
    assert User.objects.filter(pk=other_person.pk).exists()


def test_erase__two_users_of_one_match(shelf: Shelf) -> None:
    person, other_person = UserFactory.create_batch(2)
    with another_connection() as other, other.cursor() as cursor:
        insert_match(cursor, person.pk, other_person.pk)
    both = Barrier(2)

    def run(user_id: UUID) -> Outcome:
        try:
            both.wait()
            return erase(user_id)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        assert all(outcome.changed for outcome in pool.map(run, [person.pk, other_person.pk]))
    assert not User.objects.exists()
    assert not Match.objects.exists()
