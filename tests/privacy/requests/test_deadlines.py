"""Deadlines by Regulation 1182/71: known dates, properties, and agreement with PostgreSQL."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
import time_machine
from django.db import connection
from hypothesis import assume, given
from hypothesis import strategies as st
from pytest_django import Settings

from findme.core.errors import UserFacingError
from privacy.local_dates import today
from privacy.requests.deadlines import LONGEST_PAUSE, Holidays, add_months, due_date, next_working_day

DAYS = st.dates(date(1990, 1, 1), date(2200, 12, 31))
MONTHS = st.sampled_from([1, 3])
CLOSED = st.frozensets(st.sampled_from([f"{month:02}-{day:02}" for month in (1, 5, 12) for day in (1, 6, 24, 25, 26)]), max_size=6).map(
    Holidays
)
NONE: tuple[date, ...] = ()


@pytest.mark.parametrize(
    ("received_on", "due_on"),
    [
        # The examples of the EDPB's guidelines 01/2022 are those of 5 March and 31 August.
        ("2027-03-05", "2027-04-05"),
        ("2026-08-31", "2026-09-30"),
        ("2027-01-31", "2027-03-01"),  # 28 February 2027 is a Sunday
        ("2028-01-31", "2028-02-29"),
        ("2028-01-29", "2028-02-29"),
        ("2027-01-28", "2027-03-01"),
        ("2026-12-31", "2027-02-01"),  # 31 January 2027 is a Sunday
        ("2026-11-30", "2026-12-30"),
    ],
)
def test_due_date__one_month(received_on: str, due_on: str) -> None:
    assert due_date(date.fromisoformat(received_on), closed=NONE) == date.fromisoformat(due_on)


def test_due_date__holiday_moves_it_to_the_next_working_day() -> None:
    closed = Holidays(["12-25", "12-26", "2026-12-28"])
    assert due_date(date(2026, 11, 25), closed=closed) == date(2026, 12, 29)  # Friday, then a weekend, then Monday
    assert due_date(date(2025, 11, 28), closed=closed) == date(2025, 12, 29)  # the holiday of another year


def test_due_date__extension_counts_from_the_receipt() -> None:
    """Two months after the moved end of the first month would be another day."""
    assert due_date(date(2027, 1, 31), is_extended=True, closed=NONE) == date(2027, 4, 30)
    assert due_date(date(2026, 11, 30), is_extended=True, closed=NONE) == date(2027, 3, 1)


def test_due_date__pause_moves_the_end_before_the_working_day_is_found() -> None:
    assert due_date(date(2027, 3, 5), paused_days=10, closed=NONE) == date(2027, 4, 15)
    assert due_date(date(2027, 3, 5), paused_days=5, closed=NONE) == date(2027, 4, 12)  # 10 April is a Saturday


@given(DAYS, MONTHS, st.integers(0, 100), CLOSED)
def test_due_date__is_a_working_day_and_never_early(received_on: date, months: int, paused_days: int, closed: Holidays) -> None:
    due_on = due_date(received_on, is_extended=months == 3, paused_days=paused_days, closed=closed)
    end = add_months(received_on, months) + timedelta(days=paused_days)
    assert due_on.isoweekday() < 6 and due_on not in closed
    assert end <= due_on <= end + timedelta(days=LONGEST_PAUSE)
    # Every earlier day since the end of the months is closed.
    assert all(day.isoweekday() > 5 or day in closed for day in (end + timedelta(days=n) for n in range((due_on - end).days)))


@given(DAYS, DAYS, MONTHS, CLOSED)
def test_due_date__is_monotone(first: date, second: date, months: int, closed: Holidays) -> None:
    assume(first <= second)
    is_extended = months == 3
    assert due_date(first, is_extended=is_extended, closed=closed) <= due_date(second, is_extended=is_extended, closed=closed)


@given(DAYS, st.integers(0, 100), st.integers(0, 100), CLOSED)
def test_due_date__grows_with_the_pause_and_the_extension(received_on: date, fewer: int, more: int, closed: Holidays) -> None:
    fewer, more = sorted((fewer, more))
    assert due_date(received_on, paused_days=fewer, closed=closed) <= due_date(received_on, paused_days=more, closed=closed)
    assert due_date(received_on, paused_days=fewer, closed=closed) < due_date(
        received_on, paused_days=fewer, is_extended=True, closed=closed
    )


@given(DAYS, st.integers(0, 30))
def test_add_months__same_date_or_last_day(day: date, months: int) -> None:
    found = add_months(day, months)
    assert (found.year * 12 + found.month) - (day.year * 12 + day.month) == months
    assert found.day == day.day or (found.day < day.day and (found + timedelta(days=1)).day == 1)


@pytest.mark.django_db
@pytest.mark.parametrize("months", [1, 3])
def test_add_months__postgresql_agrees(months: int) -> None:
    """The trigger computes the bounds of a deadline by an interval: compare both for each day of 4 years, which have a leap day."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT day::date, (day::date + make_interval(months => %s))::date"
            " FROM generate_series('2026-01-01'::date, '2029-12-31', '1 day') AS day",
            [months],
        )
        assert [(day, end) for day, end in cursor.fetchall() if add_months(day, months) != end] == []


def test_next_working_day__without_one_within_ten_days() -> None:
    closed = Holidays(f"2027-03-{day:02}" for day in range(1, 32))
    with pytest.raises(
        UserFacingError, match=r"^REQUEST_HOLIDAYS has no working day in the 10 days after 2027-03-02: nothing was changed\."
    ):
        next_working_day(date(2027, 3, 2), closed)


def test_today__is_the_date_of_the_setting(settings: Settings) -> None:
    with time_machine.travel(datetime(2026, 12, 31, 23, 30, tzinfo=UTC), tick=False):
        for name, day in (("UTC", date(2026, 12, 31)), ("Europe/Berlin", date(2027, 1, 1)), ("America/New_York", date(2026, 12, 31))):
            settings.REQUEST_TIME_ZONE = name
            assert today() == day
