"""Ages: whole years on a day of UTC, and the groups that the payload carries."""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, date, datetime

AGE_GROUPS = ((18, "18-24"), (25, "25-34"), (35, "35-44"), (45, "45-54"), (55, "55-64"), (65, "65+"))
"""The first age of each group, with its name; below the first one it is ``under-18``."""
FIRST_AGES, NAMES = [first for first, _ in AGE_GROUPS], ["under-18", *(name for _, name in AGE_GROUPS)]


def today() -> date:
    """Today in UTC, wherever the machine is."""
    return datetime.now(UTC).date()


def age_on(date_of_birth: date, day: date) -> int:
    """Whole years on DAY. A person of 29 February turns a year older on 1 March in common years, as PostgreSQL's ``age()`` has it."""
    return day.year - date_of_birth.year - ((day.month, day.day) < (date_of_birth.month, date_of_birth.day))


def age_group(age: int) -> str:
    return NAMES[bisect_right(FIRST_AGES, age)]
