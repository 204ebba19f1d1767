"""Ages in whole years (UTC), and the age groups of the payload."""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, date, datetime

AGE_GROUPS = ((18, "18-24"), (25, "25-34"), (35, "35-44"), (45, "45-54"), (55, "55-64"), (65, "65+"))
"""First age and name of each group. Younger users are in ``under-18``."""
FIRST_AGES, NAMES = [first for first, _ in AGE_GROUPS], ["under-18", *(name for _, name in AGE_GROUPS)]


def today() -> date:
    """Return the current date in UTC."""
    return datetime.now(UTC).date()


def age_on(date_of_birth: date, day: date) -> int:
    """Return the age in whole years on ``day``.

    In common years, a user born on 29 February gets older on 1 March, as with PostgreSQL's ``age()``.
    """
    return day.year - date_of_birth.year - ((day.month, day.day) < (date_of_birth.month, date_of_birth.day))


def age_group(age: int) -> str:
    return NAMES[bisect_right(FIRST_AGES, age)]
