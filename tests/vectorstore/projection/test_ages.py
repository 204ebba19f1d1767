"""Refresh of ages: a search by age is correct on a birthday.

This holds before the daily job runs, while its entries are synced, and afterwards.
"""

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
from tests.at_length import examples
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
from vectorstore.sync.inline import point_of, sync_users

days = st.dates(date(2015, 1, 1), date(2036, 12, 31)) | st.sampled_from([date(2024, 2, 28), date(2024, 2, 29), date(2024, 3, 1)])
birth_dates = st.dates(date(1950, 1, 1), date(2010, 12, 31)) | st.builds(lambda year: date(4 * year, 2, 29), st.integers(490, 502))
example_settings = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(60))


def users_born(*dates: date) -> list[UUID]:
    """Create a user with an embedding for each date of birth, empty the queue, and return the ids."""
    user_ids = [ProfileEmbeddingFactory.create(user__date_of_birth=day).user_id for day in dates]
    ask("DELETE FROM vector_sync_queue")
    return user_ids


def mark_refreshed(day: date | None) -> None:
    """Record that ages were refreshed on ``day`` and that all entries of this refresh are done."""
    StoreState.current()
    StoreState.objects.update(ages_refreshed_on=day, ages_last_entry_id=None, ages_valid_on=None)
    clear_cached_days()


def queued() -> set[UUID]:
    return {user_id for (user_id,) in ask("SELECT user_id FROM vector_sync_queue")}


# --- Age limits of a search -------------------------------------------------------------------------------------------------------


@given(since=days, day=days)
def test_most_birthdays__equals_the_maximum_over_all_birth_dates(since: date, day: date) -> None:
    birth_dates_of_a_year = [date(2000, 1, 1) + timedelta(days=number) for number in range(366)]
    assert most_birthdays(since, day) == max(0, *(age_on(birth, day) - age_on(birth, since) for birth in birth_dates_of_a_year))


@given(birth=birth_dates, first_day=days | st.none(), written_on=days, last_day=days, today=days, slack=st.integers(0, 3))
def test_widened__contains_the_age_in_every_matching_point(
    birth: date, first_day: date | None, written_on: date, last_day: date, today: date, slack: int
) -> None:
    """This holds for all days, even if another machine with a clock ahead of this one wrote the point."""
    if first_day is not None:
        first_day = min(first_day, written_on, last_day)
    written_on, last_day = sorted((written_on, last_day))
    age = age_on(birth, today)
    youngest, oldest = DaysOfPoints(first_day, last_day).widened(age - slack, age + slack, today)
    assert youngest is None or youngest <= age_on(birth, written_on)
    assert oldest is not None and oldest >= age_on(birth, written_on)


@pytest.mark.parametrize(
    ("first_day", "bounds"),
    [
        (date(2026, 3, 1), (30, 40)),
        (date(2026, 2, 28), (29, 40)),
        (date(2025, 3, 1), (29, 40)),
        (date(2025, 2, 28), (28, 40)),
        (date(2020, 12, 31), (24, 40)),
        (None, (None, 40)),
    ],
)
def test_widened__widens_by_the_missing_years_only(first_day: date | None, bounds: tuple[int | None, int]) -> None:
    today = date(2026, 3, 1)
    assert DaysOfPoints(first_day, today).widened(30, 40, today) == bounds
    assert DaysOfPoints(first_day, today).widened(None, None, today) == (None, None)
    assert DaysOfPoints(first_day, None).widened(30, 40, today) == (bounds[0], None)


@pytest.mark.django_db
def test_days_of_points__refresh_in_progress__starts_at_the_previous_day() -> None:
    monday = date(2026, 3, 2)
    (turned,) = users_born(date(1990, 3, 2))
    mark_refreshed(monday - timedelta(days=1))
    assert days_of_points(day=monday) == DaysOfPoints(monday - timedelta(days=1), monday)
    refresh_ages(day=monday)
    assert days_of_points(day=monday) == DaysOfPoints(monday - timedelta(days=1), monday)
    ask("UPDATE users SET gender = 'other'")  # these entries come after those of the refresh
    ask("DELETE FROM vector_sync_queue WHERE id = (SELECT min(id) FROM vector_sync_queue WHERE user_id = %s)", turned)
    assert days_of_points(day=monday) == DaysOfPoints(monday, monday)
    assert days_of_points(day=monday - timedelta(days=1)) == DaysOfPoints(None, monday)  # the clock was set back


@pytest.mark.django_db
def test_days_of_points__unknown_day__starts_at_any_day() -> None:
    today = ask("SELECT (now() AT TIME ZONE 'UTC')::date")[0][0]
    mark_refreshed(None)
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
    """Three users, and the days on which their points were written."""

    def __init__(self, dates: list[date], recorded: date | None, today: date) -> None:
        self.birth_dates = dict(zip(users_born(*dates), dates, strict=True))
        self.today = today
        self.written_on = dict.fromkeys(self.birth_dates, recorded or date(2010, 1, 1))
        mark_refreshed(recorded)

    def apply(self, event: str, number: int) -> None:
        user_id = list(self.birth_dates)[number % len(self.birth_dates)]
        match event:
            case "days pass":
                self.today += timedelta(days=number)
            case "job":
                refresh_ages(day=self.today, size=1 + number)
            case "killed job":
                self._killed_job()
            case "change":
                ask("UPDATE users SET gender = CASE gender WHEN 'male' THEN 'other' ELSE 'male' END WHERE id = %s", user_id)
            case "a clock ahead":
                before, self.today = self.today, self.today + timedelta(days=400 * number)
                refresh_ages(day=self.today)
                self._sync(user_id)
                self.today = before
            case "sync one":
                self._sync(user_id)
            case "sync":
                for user_id in self.birth_dates:
                    self._sync(user_id)

    def _killed_job(self) -> None:
        """Interrupt the job after the first user, if there is one to check."""

        def stop(_done: int, _total: int | None = None, /) -> None:
            raise KeyboardInterrupt

        with suppress(KeyboardInterrupt):
            refresh_ages(day=self.today, size=1, report=stop)

    def _sync(self, user_id: UUID) -> None:
        """Sync the user's point as ``vectorstore.sync.writer.write`` does."""
        if user_id in queued():
            self.written_on[user_id] = self.today
            disbelieve_days_after(self.today)
            ask("DELETE FROM vector_sync_queue WHERE user_id = %s", user_id)

    def missed_users(self) -> list[UUID]:
        """Return the users that a search for exactly their age of today would not find in Qdrant."""
        point_days = days_of_points(day=self.today)
        return [
            user_id for user_id, birth in self.birth_dates.items() if not self._is_searched(point_days, birth, self.written_on[user_id])
        ]

    def _is_searched(self, point_days: DaysOfPoints, birth: date, written_on: date) -> bool:
        age = age_on(birth, self.today)
        youngest, oldest = point_days.widened(age, age, self.today)
        return (youngest is None or youngest <= age_on(birth, written_on)) and (oldest is None or age_on(birth, written_on) <= oldest)


@pytest.mark.django_db
@example_settings
@example(  # the second job runs before the users of the first one are written
    dates=[date(1990, 1, 2)] * 3,
    day_is_recorded=True,
    today=date(2020, 1, 1),
    events=[("days pass", 900), ("job", 2), ("days pass", 1), ("job", 2)],
)
@example(dates=[date(1990, 1, 2)] * 3, day_is_recorded=True, today=date(2020, 1, 1), events=[("a clock ahead", 2), ("job", 0)])
@example(  # a user queued by a clock that was ahead is written before the recorded day
    dates=[date(1960, 2, 29)] * 3,
    day_is_recorded=False,
    today=date(2024, 2, 28),
    events=[("a clock ahead", 1), ("days pass", 200), ("sync", 0), ("days pass", 200)],
)
@given(dates=st.lists(birth_dates, min_size=3, max_size=3), day_is_recorded=st.booleans(), today=days, events=events)
def test_search__any_sequence_of_events__misses_no_user(dates: list[date], day_is_recorded: bool, today: date, events: list[Event]) -> None:
    with transaction.atomic():
        store = Store(dates, today if day_is_recorded else None, today)
        for event, number in events:
            store.apply(event, number)
            assert store.missed_users() == [], event
        transaction.set_rollback(True)


@pytest.mark.django_db
def test_carry_out__recorded_day_is_in_the_future__invalidates_it(embedded_qdrant: object) -> None:
    initialize()
    (user_id,) = users_born(date(1990, 1, 1))
    mark_refreshed(today() + timedelta(days=3))
    sync_users([user_id])
    assert StoreState.current().ages_refreshed_on == NEVER
    assert refresh_ages() == Refreshed(today(), None, 1, 1)
    sync_users([user_id])
    assert days_of_points() == DaysOfPoints(today(), today())


@pytest.mark.django_db
def test_carry_out__day_changes_after_the_rows_were_read__invalidates_it(embedded_qdrant: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that was ahead has recorded today, and the rows were read yesterday."""
    initialize()
    (user_id,) = users_born(date(1990, 1, 1))
    mark_refreshed(today())

    def yesterday(claim: Claim) -> Points:
        return replace(points_of(claim), day=today() - timedelta(days=1))

    monkeypatch.setattr("vectorstore.sync.writer.points_of", yesterday)
    sync_users([user_id])
    assert StoreState.current().ages_refreshed_on == NEVER
    before = ask("SELECT xmin::text FROM vector_store_state")
    sync_users([user_id])
    assert ask("SELECT xmin::text FROM vector_store_state") == before  # the row is not written again


# --- The daily job ----------------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
@example_settings
@given(dates=st.lists(birth_dates, min_size=1, max_size=4), since=days, day=days, size=st.integers(1, 3))
def test_refresh__queues_exactly_the_users_with_a_changed_age(dates: list[date], since: date, day: date, size: int) -> None:
    since, day = sorted((since, day))
    with transaction.atomic():
        user_ids = users_born(*dates)
        mark_refreshed(since)
        refreshed = refresh_ages(day=day, size=size)
        turned = {user_id for user_id, birth in zip(user_ids, dates, strict=True) if age_on(birth, day) != age_on(birth, since)}
        assert queued() == turned
        assert refreshed == Refreshed(day, since, len(user_ids) if since < day else 0, len(turned))
        assert StoreState.current().ages_refreshed_on == day
        transaction.set_rollback(True)


@pytest.mark.django_db
@pytest.mark.parametrize(("day", "turned"), [(date(2026, 2, 28), False), (date(2026, 3, 1), True), (date(2024, 2, 29), True)])
def test_refresh__29_february_turns_on_1_march_in_common_years(day: date, turned: bool) -> None:
    (user_id,) = users_born(date(2000, 2, 29))
    mark_refreshed(day - timedelta(days=1))
    assert refresh_ages(day=day).queued == turned
    assert queued() == ({user_id} if turned else set())


@pytest.mark.django_db
def test_refresh__never_done__queues_all_users_with_a_point() -> None:
    user_ids = users_born(date(1990, 1, 1), date(2000, 2, 29))
    gone, staff = users_born(date(1990, 1, 1), date(1990, 1, 1))
    ask("UPDATE users SET deleted_at = now() WHERE id = %s", gone)
    ask("UPDATE users SET is_staff = true WHERE id = %s", staff)
    ask("DELETE FROM vector_sync_queue")
    mark_refreshed(None)
    assert refresh_ages(day=date(2026, 5, 5)) == Refreshed(date(2026, 5, 5), None, 4, 2)
    assert queued() == set(user_ids)


@pytest.mark.django_db
def test_refresh__already_done_on_that_day__does_nothing() -> None:
    users_born(date(1990, 5, 5))
    mark_refreshed(date(2026, 5, 5))
    assert refresh_ages(day=date(2026, 5, 5)) == Refreshed(date(2026, 5, 5), date(2026, 5, 5))
    assert queued() == set()
    assert StoreState.current().ages_refreshed_on == date(2026, 5, 5)


@pytest.mark.django_db
def test_refresh__recorded_day_is_in_the_future__queues_all_users() -> None:
    """Nothing is known about points of a future day.

    The recorded day would also keep the job idle until that day.
    """
    user_ids = users_born(date(1990, 5, 5), date(1991, 1, 1))
    mark_refreshed(date(2031, 1, 1))
    day = date(2026, 5, 5)
    assert days_of_points(day=day) == DaysOfPoints(None, date(2031, 1, 1))
    assert refresh_ages(day=day) == Refreshed(day, None, 2, 2)
    assert queued() == set(user_ids)
    assert days_of_points(day=day) == DaysOfPoints(None, None)  # points of the future day still exist
    ask("DELETE FROM vector_sync_queue")
    assert days_of_points(day=day) == DaysOfPoints(day, day)
    assert refresh_ages(day=day) == Refreshed(day, day)


@pytest.mark.django_db
def test_refresh__no_users__records_the_day() -> None:
    mark_refreshed(None)
    assert refresh_ages(day=date(2026, 5, 5)) == Refreshed(date(2026, 5, 5), None)
    assert StoreState.current().ages_refreshed_on == date(2026, 5, 5)


@pytest.mark.django_db
def test_refresh__reports_its_progress() -> None:
    users_born(*[date(1990, 1, 1)] * 5)
    mark_refreshed(None)
    reported: list[int] = []
    refresh_ages(day=date(2026, 5, 5), size=2, report=lambda done, total=None, /: reported.append(done))
    assert reported == [2, 4, 5]


@pytest.mark.at_length
@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_refresh__killed_before_its_end__next_run_queues_all_users() -> None:
    """The last page is queued in the transaction that records the day.

    The process is killed while this transaction waits.
    """
    user_ids = users_born(date(1990, 1, 1))
    mark_refreshed(date(2026, 1, 1))
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
    mark_refreshed(None)
    code, out, err = ended(started("refresh_ages"))
    assert (code, err) == (0, "")
    assert "queued 1 of 1 user" in out
    assert queued() == set(user_ids)


@pytest.mark.django_db
def test_command__prints_its_result(capsys: pytest.CaptureFixture[str]) -> None:
    today = ask("SELECT (now() AT TIME ZONE 'UTC')::date")[0][0]
    birthday = today.replace(year=today.year - 30) if (today.month, today.day) != (2, 29) else date(today.year - 32, 2, 29)
    users_born(birthday, birthday - timedelta(days=40))
    mark_refreshed(today - timedelta(days=1))
    call_command("refresh_ages")
    call_command("refresh_ages")
    mark_refreshed(None)
    call_command("refresh_ages")
    assert capsys.readouterr().out.splitlines() == [
        f"{today}: queued 1 of 2 users, who has become older since {today - timedelta(days=1)}.",
        f"{today}: nothing to do, ages were refreshed up to {today}.",
        f"{today}: queued 2 of 2 users, because the day of their points' ages is unknown.",
    ]
    call_command("refresh_ages", json=True)
    assert json.loads(capsys.readouterr().out) == {"day": str(today), "since": str(today), "users": 0, "queued": 0}


# --- Search and refresh together --------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_search__on_the_birthday__finds_the_user_before_and_after_the_refresh(store: str) -> None:
    initialize()
    now = today()
    birth = now.replace(year=now.year - 32)  # that year has a 29 February if this year has one
    embedding = ProfileEmbeddingFactory.create(user__date_of_birth=birth)
    sync_users([embedding.user_id])
    query = SearchQuery(vector=embedding.vector, min_age=32, max_age=32)
    with qdrant() as client:  # the point as it was written yesterday
        client.set_payload(collection_name(), {"age": 31, "age_group": "25-34"}, points=[str(embedding.user_id)], wait=True)

    mark_refreshed(now)  # this is not true: the limits are not widened, and no user is found
    assert search(query) == []
    mark_refreshed(now - timedelta(days=1))
    assert [hit.user_id for hit in search(query)] == [embedding.user_id]
    assert search(SearchQuery(vector=embedding.vector, max_age=31)) == []
    assert refresh_ages(day=now).queued == 1
    assert [hit.user_id for hit in search(query)] == [embedding.user_id]
    sync_users([embedding.user_id])
    assert days_of_points(day=now) == DaysOfPoints(now, now)
    assert [hit.user_id for hit in search(query)] == [embedding.user_id]
    point = point_of(embedding.user_id)
    assert point is not None and (point["payload"]["age"], point["payload"]["age_group"]) == (32, "25-34")


@pytest.mark.django_db
def test_points_of__age__uses_the_day_of_the_database() -> None:
    """The age does not use the clock of the machine that writes or verifies the point, which may be wrong."""
    embedding = ProfileEmbeddingFactory.create(user__date_of_birth=date(1990, 1, 1))
    claim = Claim(UNUSED_ID, frozenset({embedding.user_id}), (), 1, ())
    with time_machine.travel(datetime(2000, 1, 1, tzinfo=UTC), tick=False):
        (point,), (payload,) = points_of(claim).due, expected_among([embedding.user_id]).payloads
    assert point.payload == payload | {"version": 1}
    assert payload["age"] == age_on(date(1990, 1, 1), today())
