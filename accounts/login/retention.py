"""Records of log-ins are kept for 30 days."""

from __future__ import annotations

import time
from datetime import timedelta

from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.utils import timezone

KEPT = timedelta(days=30)
EVERY_SECONDS = 3600.0

RECORDS = (AccessAttempt, AccessFailureLog, AccessLog)
"""The tables of axes that have rows: one for each pair that is counted, one for each failure, one for each log-in."""

_next_at = float("-inf")


def delete_old_records() -> int:
    """Delete what is older than 30 days; return how many rows it was."""
    oldest = timezone.now() - KEPT
    return sum(model.objects.filter(attempt_time__lt=oldest).delete()[0] for model in RECORDS)


def delete_old_records_hourly() -> None:
    """Once an hour in each process, after a log-in: the columns have no index on the time."""
    global _next_at  # when this process does it again
    if (now := time.monotonic()) >= _next_at:
        _next_at = now + EVERY_SECONDS
        delete_old_records()
