"""Retention of login records: 30 days."""

from __future__ import annotations

import time
from datetime import timedelta

from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.utils import timezone

RETENTION = timedelta(days=30)
DELETE_EVERY_SECONDS = 3600.0

RECORDS = (AccessAttempt, AccessFailureLog, AccessLog)
"""Tables of axes with rows: one row per counted pair, per failure, and per login."""

_next_at = float("-inf")


def count_old_records() -> int:
    """Return how many records are older than 30 days."""
    oldest = timezone.now() - RETENTION
    return sum(model.objects.filter(attempt_time__lt=oldest).count() for model in RECORDS)


def delete_old_records() -> int:
    """Delete the records older than 30 days and return the number of rows."""
    oldest = timezone.now() - RETENTION
    return sum(model.objects.filter(attempt_time__lt=oldest).delete()[0] for model in RECORDS)


def delete_old_records_hourly() -> None:
    """Delete old records at most once an hour per process, because no index covers the time."""
    global _next_at  # the time of the next deletion in this process
    if (now := time.monotonic()) >= _next_at:
        _next_at = now + DELETE_EVERY_SECONDS
        delete_old_records()
