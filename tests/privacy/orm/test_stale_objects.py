"""A stale object of an erased user restores no data, in every way of the ORM, before, during and after the erasure."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.db import connection, connections
from django.db.models import Model

from accounts.models import User
from matching.models import Match
from privacy.actions.anonymize import anonymize
from privacy.actions.erase import erase
from tests.privacy.leftovers import left_over, rows_of
from tests.privacy.life import WORDS, full_life
from tests.privacy.orm.stale import ONE_PER_USER, PROTECTED, Outcome, again, attempt, read, twin
from tests.privacy.orm.ways import WAYS, Calls, Way, related_update_or_create
from tests.privacy.shelf import Shelf
from tests.support.database import Database
from tests.support.sessions import sessions_waiting_for_a_lock
from tests.support.threads import in_thread
from tests.support.waiting import wait_until
from vectorstore.models import ProfileEmbedding
from videos.models import Video

pytestmark = pytest.mark.django_db(transaction=True)

GUIDE = """
    UPDATE users SET email = 'deleted_' || id || '@findme.ai', full_name = 'Deleted User', bio = NULL, password_hash = '', deleted_at = NOW()
    WHERE id = %s
"""
AT_ONCE = 12
"""Number of sessions that write at the same time."""


def by_sql(statement: str, user_id: UUID) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, [user_id])


def guide_then_anonymize(user_id: UUID) -> None:
    """Run the guide's statement, and then the anonymization that clears the other tables too."""
    by_sql(GUIDE, user_id)
    anonymize(user_id)


ANONYMIZATIONS: dict[str, Callable[[UUID], object]] = {"anonymize": anonymize, "guide and anonymize": guide_then_anonymize}
DELETIONS: dict[str, Callable[[UUID], object]] = {"erase": erase, "guide": partial(by_sql, "DELETE FROM users WHERE id = %s")}
ERASURES = ANONYMIZATIONS | DELETIONS


@contextmanager
def session() -> Iterator[psycopg.Connection[Any]]:
    with Database(connection.settings_dict["NAME"]).connect() as made:
        yield made


def assert_nothing_restored(user_id: UUID, *, deleted: bool) -> None:
    with session() as made:
        rows = rows_of(made, [user_id])
        assert list(rows if deleted else left_over(made, [user_id])) == []
        assert [word for word in WORDS if word in json.dumps(list(rows.values()), ensure_ascii=False)] == []
        assert made.execute("SELECT deleted FROM erased_users WHERE user_id = %s", [user_id]).fetchall() == [(deleted,)]


def writes(way: Way, stale: list[Any], *, deleted: bool) -> Iterator[tuple[list[Any], bool]]:
    """Yield the objects to write in this way, and whether the write must be refused."""
    model = type(stale[0])
    if not way.works_for(stale[0]):
        return
    is_row_kept = not deleted and model not in ONE_PER_USER
    yield [copy.copy(one) for one in stale], is_row_kept and way.updates and model is not Match
    if way.inserts:
        yield [again(one) for one in stale], not is_row_kept
    if way.inserts and model not in (User, *ONE_PER_USER):
        yield [made_later(twin(one)) for one in stale], True
    if model is Video:
        # It searches the user's videos, finds none, and inserts the video.
        yield [moved(stale[0])], (way.updates or way.moves) and way.write is not related_update_or_create


def made_later(one: Any) -> Any:
    """Return the row with a date after an erasure that may still be running."""
    one.created_at += timedelta(minutes=1)
    return one


def moved(stale: Any) -> Any:
    """Return the video of another user, assigned to this user in memory."""
    other = Video.objects.exclude(user_id=stale.user_id).exclude(storage_url="").select_related("user").order_by("pk").first()
    assert other is not None
    other.user = stale.user
    return other


@pytest.mark.at_length(every=4)
@pytest.mark.parametrize("erasure", ERASURES)
def test_stale__after_an_erasure(shelf: Shelf, erasure: str) -> None:
    person, deleted = full_life(), erasure in DELETIONS
    full_life(email="other@example.com")
    stale = {model: read(model, [person.pk]) for model in PROTECTED}
    ERASURES[erasure](person.pk)
    refusals = dict.fromkeys((way.name for way in WAYS), 0)
    call = Calls(is_async=erasure in ("erase", "guide and anonymize"))
    for objects in stale.values():
        for way in WAYS:
            for written, must_be_refused in writes(way, objects, deleted=deleted):
                outcome, user_id = attempt(way, call, written)
                # User.save checks whether the user still exists.
                is_refused = outcome == Outcome.REFUSED or (outcome == Outcome.NO_ROW and isinstance(written[0], User))
                assert is_refused or not must_be_refused, (way.name, written)
                refusals[way.name] += outcome == Outcome.REFUSED
                assert user_id in (None, person.pk)
    assert_nothing_restored(person.pk, deleted=deleted)
    assert {name for name, count in refusals.items() if count == 0} <= (set() if deleted else {"create_user", "create_superuser"})


def test_stale__embedding_that_the_guides_statement_has_left(shelf: Shelf) -> None:
    person = full_life()
    stale = read(ProfileEmbedding, [person.pk])
    ProfileEmbedding.objects.filter(pk=person.pk).update(interests=["since"])
    by_sql(GUIDE, person.pk)
    for way in (way for way in WAYS if way.works_for(stale[0])):
        objects = [copy.copy(one) if way.updates else again(one) for one in stale]
        outcome, _ = attempt(way, Calls(), objects)
        assert outcome == Outcome.REFUSED or not way.updates, way.name
    assert ProfileEmbedding.objects.get().interests == ["since"]


class Paused:
    """An anonymization or erasure that pauses before its commit."""

    def __init__(self, shelf: Shelf, erasure: Callable[[UUID], object], user_id: UUID) -> None:
        self.shelf, self.erasure, self.user_id = shelf, erasure, user_id
        self.reached, self.may_continue = threading.Event(), threading.Event()
        shelf.before_removal = self._wait

    def _wait(self) -> None:
        self.reached.set()
        assert self.may_continue.wait(60)

    def run(self) -> None:
        self.erasure(self.user_id)


@pytest.mark.at_length(every=4)
@pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ"], ids=["committed", "snapshot"])
@pytest.mark.parametrize("erasure", [anonymize, erase], ids=lambda erasure: erasure.__name__)
@pytest.mark.parametrize("model", PROTECTED, ids=lambda model: model.__name__)
def test_stale__during_an_erasure(shelf: Shelf, model: type[Model], erasure: Callable[[UUID], object], isolation: str) -> None:
    """Each write begins before the commit of the erasure. In REPEATABLE READ its transaction does not see the erasure later."""
    full_life(email="other@example.com")
    outcomes: list[tuple[str, Outcome]] = []
    for ways in batched(WAYS):
        person = full_life()
        stale = read(model, [person.pk])
        first = [(way, refused_first(way, stale, deleted=erasure is erase)) for way in ways]
        writing = [partial(write_and_close, way, written, isolation) for way, written in first if written is not None]
        outcomes += during(Paused(shelf, erasure, person.pk), writing)
        assert_nothing_restored(person.pk, deleted=erasure is erase)
        User.objects.filter(pk=person.pk).delete()
    expected = Outcome.REFUSED if isolation == "READ COMMITTED" else Outcome.DISTURBED
    assert expected in {outcome for _, outcome in outcomes}
    # They find an equal row and write nothing.
    assert {name for name, outcome in outcomes if outcome == Outcome.PASSED} <= {"get_or_create", "related_get_or_create"}


def batched(ways: Sequence[Way]) -> Iterator[Sequence[Way]]:
    for first in range(0, len(ways), AT_ONCE):
        yield ways[first : first + AT_ONCE]


def refused_first(way: Way, stale: list[Any], *, deleted: bool) -> list[Any] | None:
    """Return the first objects that must be refused in this way, or None."""
    return next((written for written, must_be_refused in writes(way, stale, deleted=deleted) if must_be_refused), None)


def write_and_close(way: Way, written: list[Any], isolation: str) -> tuple[str, Outcome]:
    try:
        return way.name, attempt(way, Calls(), written, isolation)[0]
    finally:
        connections.close_all()


def during(paused: Paused, writing: Sequence[Callable[[], tuple[str, Outcome]]]) -> list[tuple[str, Outcome]]:
    """Begin the writes before the commit of the erasure. Commit when each of them waits or has ended."""
    with in_thread(paused.run) as erasing, ThreadPoolExecutor(AT_ONCE) as pool:
        assert paused.reached.wait(60)
        begun = [pool.submit(write) for write in writing]
        wait_until(lambda: sessions_waiting_for_a_lock() + sum(one.done() for one in begun) >= len(begun), "each waits or has ended")
        paused.may_continue.set()
        erasing.result()
        return [one.result() for one in begun]
