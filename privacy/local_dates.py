"""Dates in the time zone of the setting ``REQUEST_TIME_ZONE``, in which data subjects and officers count days."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from django.conf import settings


def today() -> date:
    return day_of(datetime.now(UTC))


def day_of(moment: datetime) -> date:
    return moment.astimezone(ZoneInfo(settings.REQUEST_TIME_ZONE)).date()
