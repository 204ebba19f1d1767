"""Check that the triggers capture changes. An idle worker may have missed every change."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from django.db import DatabaseError, InterfaceError, connection

from findme.core.triggers.problems import trigger_problems
from vectorstore.consistency.comparison_due import comparison_due_at, comparison_due_warning

EVERY_SECONDS = 60.0

log = logging.getLogger(__name__)


def capture_warning() -> str | None:
    """Return one line that lists the triggers that are not as migrated, or else the comparison that is due, or None."""
    problems, due_at = trigger_problems(), comparison_due_at()
    if problems:
        return f"Changes in PostgreSQL may not be captured: {'; '.join(map(str, problems))}. Run manage.py verify_qdrant --repair."
    return None if due_at is None else f"{comparison_due_warning(due_at)} Run manage.py verify_qdrant --repair."


@dataclass
class CaptureCheck:
    """The check of one worker, once a minute. It logs a warning once, and again only if the warning changes."""

    due_at: float = float("-inf")
    logged: str | None = None

    def run(self) -> None:
        if time.monotonic() < self.due_at:
            return
        self.due_at = time.monotonic() + EVERY_SECONDS
        try:
            warning = capture_warning()
        except (DatabaseError, InterfaceError):
            # The next step of the worker reports that PostgreSQL is unavailable.
            connection.close()
            return
        if warning is not None and warning != self.logged:
            log.warning("%s", warning)
        self.logged = warning
