from datetime import date

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.age import age_group, age_on


@pytest.mark.parametrize(
    ("born", "day", "age"),
    [
        (date(2000, 2, 29), date(2018, 2, 28), 17),
        (date(2000, 2, 29), date(2018, 3, 1), 18),
        (date(2000, 2, 29), date(2020, 2, 29), 20),
        (date(1990, 6, 15), date(2026, 6, 14), 35),
        (date(1990, 6, 15), date(2026, 6, 15), 36),
        (date(1990, 6, 15), date(1990, 6, 15), 0),
    ],
)
def test_age_on__changes_on_the_birthday(born: date, day: date, age: int) -> None:
    assert age_on(born, day) == age


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(dates=st.tuples(st.dates(), st.dates()).map(sorted))
def test_age_on__equals_postgresqls_age(db: None, dates: list[date]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT extract(year FROM age(%s::date, %s::date))", [dates[1], dates[0]])
        assert age_on(*dates) == cursor.fetchone()[0]


@pytest.mark.parametrize(
    ("age", "group"),
    [(-1, "under-18"), (17, "under-18"), (18, "18-24"), (24, "18-24"), (25, "25-34"), (34, "25-34"), (35, "35-44"), (45, "45-54"), (64, "55-64"), (65, "65+"), (120, "65+")],
)  # fmt: skip
def test_age_group__begins_with_its_first_age(age: int, group: str) -> None:
    assert age_group(age) == group
