"""A connection reads every date of PostgreSQL and writes it back unchanged."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, date, datetime
from typing import Any

import psycopg
import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from findme.core.values.unreadable import Unreadable, UnreadableDate, UnreadableDateTime

SAMPLES = [
    ("date", "infinity", UnreadableDate, date(9999, 12, 30)),
    ("date", "-infinity", UnreadableDate, date(1, 1, 2)),
    ("date", "19900-05-01", UnreadableDate, date(9999, 12, 30)),
    ("date", "0044-03-15 BC", UnreadableDate, date(1, 1, 2)),
    ("timestamptz", "infinity", UnreadableDateTime, datetime(9999, 12, 30, tzinfo=UTC)),
    ("timestamptz", "-infinity", UnreadableDateTime, datetime(1, 1, 2, tzinfo=UTC)),
    ("timestamptz", "19900-05-01 12:30:00.5+00", UnreadableDateTime, datetime(9999, 12, 30, tzinfo=UTC)),
    ("timestamptz", "4713-01-01 00:00:00+00 BC", UnreadableDateTime, datetime(1, 1, 2, tzinfo=UTC)),
    ("timestamp", "infinity", UnreadableDateTime, datetime(9999, 12, 30, tzinfo=UTC)),
]


def read(kind: str, value: str, *, binary: bool) -> Any:
    connection.ensure_connection()
    with psycopg.Cursor(connection.connection) as cursor:
        ((found,),) = cursor.execute("SELECT %s::text::" + kind, [value], binary=binary).fetchall()
        return found


def written(value: Any, kind: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT (%s::{kind})::text", [value])
        return str(cursor.fetchone()[0])


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize(("kind", "text", "stand_in", "nearest"), SAMPLES)
def test_register_date_loaders__stand_in_is_written_back_unchanged(
    db: None, kind: str, text: str, stand_in: type[Unreadable], nearest: date, binary: bool
) -> None:
    found = read(kind, text, binary=binary)
    assert (type(found), found) == (stand_in, nearest)
    assert written(found, kind) == text == written(text, kind)
    if not binary:
        assert (str(found), found.isoformat(), found.strftime("%Y"), f"{found:%Y}") == (text,) * 4


@pytest.mark.parametrize(("kind", "text", "stand_in", "nearest"), SAMPLES)
def test_register_date_loaders__by_django(db: None, kind: str, text: str, stand_in: type[Unreadable], nearest: date) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT '{text}'::{kind}, '2026-11-29'::{kind}")
        found, ordinary = cursor.fetchone()
    assert (type(found), found.text) == (stand_in, text)
    assert type(ordinary) in (date, datetime)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(days=st.integers(-2_451_000, 106_700_000), microseconds=st.integers(0, 86_399_999_999))
def test_register_date_loaders__binary_text_is_that_of_postgresql(db: None, days: int, microseconds: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT ('2000-01-01'::date + %s)::text, ('2000-01-01'::timestamptz + make_interval(days => %s, secs => %s / 1000000.0))::text",
            [days, days, microseconds],
        )
        day, moment = cursor.fetchone()
    for kind, text in (("date", day), ("timestamptz", moment)):
        assert written(read(kind, text, binary=True), kind) == text


@pytest.mark.parametrize("stand_in", [UnreadableDate.from_text("infinity"), UnreadableDateTime.from_text("19900-05-01 00:00:00+00")])
def test_unreadable__a_copy_keeps_the_text(stand_in: Any) -> None:
    assert copy.deepcopy(stand_in).text == pickle.loads(pickle.dumps(stand_in)).text == copy.copy(stand_in).text == stand_in.text


def test_unreadable__in_another_time_zone_it_is_the_same() -> None:
    found = UnreadableDateTime.from_text("infinity")
    assert found.astimezone(UTC).replace(tzinfo=None).text == found.date().text == "infinity"


def test_unreadable__the_result_of_arithmetic_is_an_ordinary_date() -> None:
    found: Any = UnreadableDate.from_text("infinity")
    assert str(found - (found - date(2026, 11, 29))) == "2026-11-29"
