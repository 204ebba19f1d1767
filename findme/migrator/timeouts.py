"""Timeouts and retries of ``migrate`` and ``rollback``."""

from __future__ import annotations

import random
from dataclasses import dataclass

from django.conf import settings

LONGEST_PAUSE = 15.0


@dataclass(frozen=True, slots=True)
class MigrationTimeouts:
    """``wait_seconds`` limits the wait for another migrate, rollback or backup; ``table_lock_seconds`` that for each table lock.

    A migration is tried up to ``attempts`` times.
    """

    wait_seconds: float
    table_lock_seconds: float
    attempts: int

    @classmethod
    def configured(
        cls, *, wait_seconds: float | None = None, table_lock_seconds: float | None = None, attempts: int | None = None
    ) -> MigrationTimeouts:
        """Return the given values, and the settings' values for those that are None."""
        return cls(
            settings.MIGRATE_WAIT_SECONDS if wait_seconds is None else wait_seconds,
            settings.MIGRATE_TABLE_LOCK_SECONDS if table_lock_seconds is None else table_lock_seconds,
            settings.MIGRATE_ATTEMPTS if attempts is None else attempts,
        )

    @property
    def lock_timeout(self) -> str:
        """The value of PostgreSQL's setting ``lock_timeout``: ``table_lock_seconds`` in milliseconds."""
        return f"{round(self.table_lock_seconds * 1000)}ms"

    def pause_after(self, attempt: int) -> float:
        """Return the seconds before the next attempt: doubled each time, with a random part to separate processes that began together."""
        return min(LONGEST_PAUSE, 2.0 ** (attempt - 1)) * random.uniform(0.5, 1.0)  # noqa: S311  # no secret
