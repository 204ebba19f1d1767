"""A search by age is right on the day of a birthday: before the daily job has run, while its work is under way, and after."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest
import time_machine
from django.core.management import call_command
from django.db import transaction
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from accounts.age import age_on, today
from tests.factories import ProfileEmbeddingFactory
from tests.schema.rows import UNUSED_ID, ask, connect
from tests.support.commands import started
from tests.support.processes import ended
from tests.support.waiting import wait_until
from vectorstore.models import StoreState
from vectorstore.projection.ages import NEVER, DaysOfPoints, Refreshed, days_of_points, disbelieve_days_after, most_birthdays, refresh_ages
from vectorstore.projection.points import Points, expected_among, points_of
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.schema.initialize import initialize
from vectorstore.search.criteria import SearchQuery
from vectorstore.search.engine import search
from vectorstore.search.filter import clear_cached_days
from vectorstore.sync.claims import Claim
from vectorstore.sync.inline import sync_users
from vectorstore.sync.removal import point_of

days = st.dates(date(2015, 1, 1), date(2036, 12, 31)) | st.sampled_from([date(2024, 2, 28), date(2024, 2, 29), date(2024, 3, 1)])
births = st.dates(date(1950, 1, 1), date(2010, 12, 31)) | st.builds(lambda year: date(4 * year, 2, 29), st.integers(490, 502))
tolerant = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None, max_examples=60)


def born(*dates: date) -> list[UUID]:
    """A person with an embedding for each date of birth; nobody is queued. In the order of their ids."""
    made = [ProfileEmbeddingFactory.create(user__date_of_birth=day).user_id for day in dates]
    ask("DELETE FROM vector_sync_queue")
    return made


def refreshed_on(day: date | None) -> None:
    """Ages are right as of DAY, and nothing is left to be done for it."""
    StoreState.current()
    StoreState.objects.update(ages_refreshed_on=day, ages_last_entry_id=None, ages_valid_on=None)
    clear_cached_days()


def queued() -> set[UUID]:
    return {user_id for (user_id,) in ask("SELECT user_id FROM vector_sync_queue")}


# --- What a search asks for -------------------------------------------------------------------------------------------------------


@given(since=days, day=days)
def test_most_birthdays__is_the_most_that_anybody_has(since: date, day: date) -> None:
    everyday = [date(2000, 1, 1) + timedelta(days=number) for number in range(366)]
    assert most_birthdays(since, day) == max(0, *(age_on(birth, day) - age_on(birth, since) for birth in everyday))


@given(birth=births, first=days | st.none(), written=days, last=days, today=days, slack=st.integers(0, 3))
def test_widened__nobody_who_belongs_is_missed(birth: date, first: date | None, written: date, last: date, today: date, slack: int) -> None:
    """Whatever the days, also where this machine's clock is behind that of the one that wrote the point."""
    if first is not None:
        first = min(first, written, last)
    written, last = sorted((written, last))
    age = age_on(birth, today)
    youngest, oldest = DaysOfPoints(first, last).widened(age - slack, age + slack, today)
    assert youngest is None or youngest <= age_on(birth, written)
    assert oldest is not None and oldest >= age_on(birth, written)


@pytest.mark.parametrize(
    ("first", "bounds"),
    [
        (date(2026, 3, 1), (30, 40)),
        (date(2026, 2, 28), (29, 40)),
        (date(2025, 3, 1), (29, 40)),
        (date(2025, 2, 28), (28, 40)),
        (date(2020, 12, 31), (24, 40)),
        (None, (None, 40)),
    ],
)
def test_widened__by_no_more_than_the_years_that_may_be_missing(first: date | None, bounds: tuple[int | None, int]) -> None:
    today = date(2026, 3, 1)
    assert DaysOfPoints(first, today).widened(30, 40, today) == bounds
    assert DaysOfPoints(first, today).widened(None, None, today) == (None, None)
    assert DaysOfPoints(first, None).widened(30, 40, today) == (bounds[0], None)


@pytest.mark.django_db
def test_days_of_points__as_of_the_day_before_until_all_that_was_queued_is_done() -> None:
    monday = date(2026, 3, 2)
    (turned,) = born(date(1990, 3, 2))
    refreshed_on(monday - timedelta(days=1))
    assert days_of_points(day=monday) == DaysOfPoints(monday - timedelta(days=1), monday)
    refresh_ages(day=monday)
    assert days_of_points(day=monday) == DaysOfPoints(monday - timedelta(days=1), monday)
    ask("UPDATE users SET gender = 'other'")  # which waits behind
    ask("DELETE FROM vector_sync_queue WHERE id = (SELECT min(id) FROM vector_sync_queue WHERE user_id = %s)", turned)
    assert days_of_points(day=monday) == DaysOfPoints(monday, monday)
    assert days_of_points(day=monday - timedelta(days=1)) == DaysOfPoints(None, monday)  # a clock that went back


@pytest.mark.django_db
def test_days_of_points__without_a_note__is_of_any_day() -> None:
    today = ask("SELECT (now() AT TIME ZONE 'UTC')::date")[0][0]
    refreshed_on(None)
    assert days_of_points() == DaysOfPoints(None, today)
    StoreState.objects.all().delete()
    assert days_of_points() == DaysOfPoints(None, today)


Event = tuple[str, int]
events: st.SearchStrategy[list[Event]] = st.lists(
    st.tuples(st.just("days pass"), st.sampled_from([1, 2, 27, 200, 366, 900]))
    | st.tuples(st.sampled_from(["job", "killed job", "sync", "sync one", "change", "a clock ahead"]), st.integers(0, 2)),
    max_size=12,
)


class Store:
    """Three people, and the days on which their points were written."""

    def __init__(self, dates: list[date], noted: date | None, today: date) -> None:
        self.births = dict(zip(born(*dates), dates, strict=True))
        self.today = today
        self.written = dict.fromkeys(self.births, noted or date(2010, 1, 1))
        refreshed_on(noted)

    def take(self, event: str, number: int) -> None:
        someone = list(self.births)[number % len(self.births)]
        match event:
            case "days pass":
                self.today += timedelta(days=number)
            case "job":
                refresh_ages(day=self.today, size=1 + number)
            case "killed job":
                self._killed_job()
            case "change":
                ask("UPDATE users SET gender = CASE gender WHEN 'male' THEN 'other' ELSE 'male' END WHERE id = %s", someone)
            case "a clock ahead":
                before, self.today = self.today, self.today + timedelta(days=400 * number)
                refresh_ages(day=self.today)
                self._sync(someone)
                self.today = before
            case "sync one":
                self._sync(someone)
            case "sync":
                for user_id in self.births:
                    self._sync(user_id)

    def _killed_job(self) -> None:
        """After the first of the people, if there is one to be looked at."""

        def stop(_done: int, _total: int | None = None, /) -> None:
            raise KeyboardInterrupt

        with suppress(KeyboardInterrupt):
            refresh_ages(day=self.today, size=1, report=stop)

    def _sync(self, user_id: UUID) -> None:
        """As ``vectorstore.sync.writer.write`` does it."""
        if user_id in queued():
            self.written[user_id] = self.today
            disbelieve_days_after(self.today)
            ask("DELETE FROM vector_sync_queue WHERE user_id = %s", user_id)

    def missed(self) -> list[UUID]:
        """Who is of an age today that a search for just that age would not ask Qdrant for."""
        known = days_of_points(day=self.today)
        return [user_id for user_id, birth in self.births.items() if not self._asked_for(known, birth, self.written[user_id])]

    def _asked_for(self, known: DaysOfPoints, birth: date, written: date) -> bool:
        age = age_on(birth, self.today)
        youngest, oldest = known.widened(age, age, self.today)
        return (youngest is None or youngest <= age_on(birth, written)) and (oldest is None or age_on(birth, written) <= oldest)


@pytest.mark.django_db
@tolerant
@example(  # the second job comes before the first one's people are written
    dates=[date(1990, 1, 2)] * 3, noted=True, today=date(2020, 1, 1), events=[("days pass", 900), ("job", 2), ("days pass", 1), ("job", 2)]
)
@example(dates=[date(1990, 1, 2)] * 3, noted=True, today=date(2020, 1, 1), events=[("a clock ahead", 2), ("job", 0)])
@example(  # who was queued by a clock that was ahead is written before the day that was noted
    dates=[date(1960, 2, 29)] * 3,
    noted=False,
    today=date(2024, 2, 28),
    events=[("a clock ahead", 1), ("days pass", 200), ("sync", 0), ("days pass", 200)],
)
@given(dates=st.lists(births, min_size=3, max_size=3), noted=st.booleans(), today=days, events=events)
def test_search__whatever_has_happened__nobody_who_belongs_is_missed(
    dates: list[date], noted: bool, today: date, events: list[Event]
) -> None:
    with transaction.atomic():
        store = Store(dates, today if noted else None, today)
        for event, number in events:
            store.take(event, number)
            assert store.missed() == [], event
        transaction.set_rollback(True)


@pytest.mark.django_db
def test_carry_out__before_a_day_that_was_noted_by_a_clock_ahead(embedded_qdrant: object) -> None:
    initialize()
    (person,) = born(date(1990, 1, 1))
    refreshed_on(today() + timedelta(days=3))
    sync_users([person])
    assert StoreState.current().ages_refreshed_on == NEVER
    assert refresh_ages() == Refreshed(today(), None, 1, 1)
    sync_users([person])
    assert days_of_points() == DaysOfPoints(today(), today())


@pytest.mark.django_db
def test_carry_out__the_day_turns_between_the_reading_and_the_end(embedded_qdrant: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that was ahead has noted today, and the rows were read yesterday."""
    initialize()
    (person,) = born(date(1990, 1, 1))
    refreshed_on(today())

    def yesterday(claim: Claim) -> Points:
        return replace(points_of(claim), day=today() - timedelta(days=1))

    monkeypatch.setattr("vectorstore.sync.writer.points_of", yesterday)
    sync_users([person])
    assert StoreState.current().ages_refreshed_on == NEVER
    before = ask("SELECT xmin::text FROM vector_store_state")
    sync_users([person])
    assert ask("SELECT xmin::text FROM vector_store_state") == before  # it is not written again and again


# --- The daily job ----------------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
@tolerant
@given(dates=st.lists(births, min_size=1, max_size=4), since=days, day=days, size=st.integers(1, 3))
def test_refresh__queues_exactly_who_is_of_another_age(dates: list[date], since: date, day: date, size: int) -> None:
    since, day = sorted((since, day))
    with transaction.atomic():
        people = born(*dates)
        refreshed_on(since)
        refreshed = refresh_ages(day=day, size=size)
        turned = {user_id for user_id, birth in zip(people, dates, strict=True) if age_on(birth, day) != age_on(birth, since)}
        assert queued() == turned
        assert refreshed == Refreshed(day, since, len(people) if since < day else 0, len(turned))
        assert StoreState.current().ages_refreshed_on == day
        transaction.set_rollback(True)


@pytest.mark.django_db
@pytest.mark.parametrize(("day", "turned"), [(date(2026, 2, 28), False), (date(2026, 3, 1), True), (date(2024, 2, 29), True)])
def test_refresh__29_february_turns_on_1_march_in_common_years(day: date, turned: bool) -> None:
    (person,) = born(date(2000, 2, 29))
    refreshed_on(day - timedelta(days=1))
    assert refresh_ages(day=day).queued == turned
    assert queued() == ({person} if turned else set())


@pytest.mark.django_db
def test_refresh__never_done__queues_everybody_who_has_a_point() -> None:
    people = born(date(1990, 1, 1), date(2000, 2, 29))
    gone, staff = born(date(1990, 1, 1), date(1990, 1, 1))
    ask("UPDATE users SET deleted_at = now() WHERE id = %s", gone)
    ask("UPDATE users SET is_staff = true WHERE id = %s", staff)
    ask("DELETE FROM vector_sync_queue")
    refreshed_on(None)
    assert refresh_ages(day=date(2026, 5, 5)) == Refreshed(date(2026, 5, 5), None, 4, 2)
    assert queued() == set(people)


@pytest.mark.django_db
def test_refresh__of_that_day__does_nothing() -> None:
    born(date(1990, 5, 5))
    refreshed_on(date(2026, 5, 5))
    assert refresh_ages(day=date(2026, 5, 5)) == Refreshed(date(2026, 5, 5), date(2026, 5, 5))
    assert queued() == set()
    assert StoreState.current().ages_refreshed_on == date(2026, 5, 5)


@pytest.mark.django_db
def test_refresh__after_a_clock_that_was_ahead__queues_everybody() -> None:
    """Of what is noted then nothing is known; and it would keep the job from its work until that day has come."""
    people = born(date(1990, 5, 5), date(1991, 1, 1))
    refreshed_on(date(2031, 1, 1))
    day = date(2026, 5, 5)
    assert days_of_points(day=day) == DaysOfPoints(None, date(2031, 1, 1))
    assert refresh_ages(day=day) == Refreshed(day, None, 2, 2)
    assert queued() == set(people)
    assert days_of_points(day=day) == DaysOfPoints(None, None)  # those of the other day are still there
    ask("DELETE FROM vector_sync_queue")
    assert days_of_points(day=day) == DaysOfPoints(day, day)
    assert refresh_ages(day=day) == Refreshed(day, day)


@pytest.mark.django_db
def test_refresh__nobody_there__notes_the_day() -> None:
    refreshed_on(None)
    assert refresh_ages(day=date(2026, 5, 5)) == Refreshed(date(2026, 5, 5), None)
    assert StoreState.current().ages_refreshed_on == date(2026, 5, 5)


@pytest.mark.django_db
def test_refresh__reports_how_far_it_is() -> None:
    born(*[date(1990, 1, 1)] * 5)
    refreshed_on(None)
    reported: list[int] = []
    refresh_ages(day=date(2026, 5, 5), size=2, report=lambda done, total=None, /: reported.append(done))
    assert reported == [2, 4, 5]


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_refresh__killed_before_its_end__the_day_is_not_noted_and_the_next_run_queues_everybody() -> None:
    """The last page is queued in the transaction that notes the day: while that waits, the process is killed."""
    person = born(date(1990, 1, 1))
    refreshed_on(date(2026, 1, 1))
    with connect() as other:
        other.execute("SELECT 1 FROM vector_store_state FOR UPDATE")
        process = started("refresh_ages")
        waiting = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        wait_until(lambda: ask(waiting))
        ((pid,),) = ask(waiting)
        process.kill()
        process.communicate()
        other.rollback()
        wait_until(lambda: not ask("SELECT 1 FROM pg_stat_activity WHERE pid = %s", pid))
    assert (StoreState.current().ages_refreshed_on, queued()) == (date(2026, 1, 1), set())
    refreshed_on(None)
    code, out, err = ended(started("refresh_ages"))
    assert (code, err) == (0, "")
    assert "queued 1 of 1 user" in out
    assert queued() == set(person)


@pytest.mark.django_db
def test_command__says_what_it_did(capsys: pytest.CaptureFixture[str]) -> None:
    today = ask("SELECT (now() AT TIME ZONE 'UTC')::date")[0][0]
    birthday = today.replace(year=today.year - 30) if (today.month, today.day) != (2, 29) else date(today.year - 32, 2, 29)
    born(birthday, birthday - timedelta(days=40))
    refreshed_on(today - timedelta(days=1))
    call_command("refresh_ages")
    call_command("refresh_ages")
    refreshed_on(None)
    call_command("refresh_ages")
    assert capsys.readouterr().out.splitlines() == [
        f"{today}: queued 1 of 2 users, who has become older since {today - timedelta(days=1)}.",
        f"{today}: nothing to do, ages were refreshed up to {today}.",
        f"{today}: queued 2 of 2 users, because the day of their points' ages is unknown.",
    ]
    call_command("refresh_ages", json=True)
    assert json.loads(capsys.readouterr().out) == {"day": str(today), "since": str(today), "users": 0, "queued": 0}


# --- Together ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_search__on_the_birthday__before_the_job_beside_it_and_after_the_sync(store: str) -> None:
    initialize()
    now = today()
    birth = now.replace(year=now.year - 32)  # which has a 29 February where this year has one
    person = ProfileEmbeddingFactory.create(user__date_of_birth=birth)
    sync_users([person.user_id])
    of_32 = SearchQuery(vector=person.vector, min_age=32, max_age=32)
    with qdrant() as client:  # the point as it was written yesterday
        client.set_payload(collection_name(), {"age": 31, "age_group": "25-34"}, points=[str(person.user_id)], wait=True)

    refreshed_on(now)  # which is not true: nothing is widened, and nobody found
    assert search(of_32) == []
    refreshed_on(now - timedelta(days=1))
    assert [hit.user_id for hit in search(of_32)] == [person.user_id]
    assert search(SearchQuery(vector=person.vector, max_age=31)) == []
    assert refresh_ages(day=now).queued == 1
    assert [hit.user_id for hit in search(of_32)] == [person.user_id]
    sync_users([person.user_id])
    assert days_of_points(day=now) == DaysOfPoints(now, now)
    assert [hit.user_id for hit in search(of_32)] == [person.user_id]
    point = point_of(person.user_id)
    assert point is not None and (point["payload"]["age"], point["payload"]["age_group"]) == (32, "25-34")


@pytest.mark.django_db
def test_points__have_the_age_of_the_databases_day() -> None:
    """And not of the day of a machine whose clock is wrong, be it written or verified there."""
    person = ProfileEmbeddingFactory.create(user__date_of_birth=date(1990, 1, 1))
    claim = Claim(UNUSED_ID, frozenset({person.user_id}), (), 1, ())
    with time_machine.travel(datetime(2000, 1, 1, tzinfo=UTC), tick=False):
        (point,), (payload,) = points_of(claim).due, expected_among([person.user_id]).payloads
    assert point.payload == payload | {"version": 1}
    assert payload["age"] == age_on(date(1990, 1, 1), today())
