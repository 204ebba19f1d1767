"""Deadlines of requests (GDPR, article 12, and Regulation (EEC, Euratom) 1182/71).

- One month from the receipt ends on the same date of the next month, or on its last day if there is no such date (article 3 (2) (c)).
- A deadline on a Saturday, a Sunday or a holiday ends on the next working day (article 3 (4)).
- An extension by two months makes it three months from the receipt (article 12 (3) GDPR).
- While the data subject must prove their identity, the deadline does not run (article 12 (6) GDPR; EDPB guidelines 01/2022, section 5.3).
"""

from __future__ import annotations

import calendar
from collections.abc import Container, Iterable
from datetime import date, timedelta

from django.conf import settings

from findme.core.errors import UserFacingError

MONTHS, EXTENDED_MONTHS = 1, 3
LONGEST_PAUSE = 10
"""Most days from the end of the months to the next working day. The database refuses a later deadline."""
SOON = timedelta(days=7)
"""How long before its deadline a request is due soon."""
LONG_WAIT = timedelta(days=30)
"""How long a data subject may take to prove their identity before the reminders name the request."""


class Holidays:
    """Holidays of the setting ``REQUEST_HOLIDAYS``: ``YYYY-MM-DD``, or ``MM-DD`` for every year."""

    def __init__(self, days: Iterable[str]) -> None:
        self._days = frozenset(days)

    def __contains__(self, day: object) -> bool:
        return isinstance(day, date) and (day.isoformat() in self._days or f"{day:%m-%d}" in self._days)


def holidays() -> Holidays:
    return Holidays(settings.REQUEST_HOLIDAYS)


def add_months(day: date, months: int) -> date:
    """Return the same date in a later month, or the last day of that month."""
    years, month = divmod(day.month - 1 + months, 12)
    year, month = day.year + years, month + 1
    return date(year, month, min(day.day, calendar.monthrange(year, month)[1]))


def next_working_day(day: date, closed: Container[date]) -> date:
    """Return ``day``, or the first day after it that is no Saturday, Sunday or holiday.

    Raise UserFacingError if the holidays leave no such day within ``LONGEST_PAUSE`` days.
    """
    for days in range(LONGEST_PAUSE + 1):
        found = day + timedelta(days=days)
        if found.isoweekday() < 6 and found not in closed:
            return found
    raise UserFacingError(f"REQUEST_HOLIDAYS has no working day in the {LONGEST_PAUSE} days after {day}: nothing was changed. Correct it.")


def due_date(received_on: date, *, is_extended: bool = False, paused_days: int = 0, closed: Container[date] | None = None) -> date:
    """Return the last day for the answer. ``closed`` are the holidays, by default those of the setting."""
    months = EXTENDED_MONTHS if is_extended else MONTHS
    end = add_months(received_on, months) + timedelta(days=paused_days)
    return next_working_day(end, holidays() if closed is None else closed)
