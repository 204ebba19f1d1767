"""How long ``migrate`` and ``rollback`` wait, and for what."""

from __future__ import annotations

import random
from dataclasses import dataclass

from django.conf import settings

LONGEST_PAUSE = 15.0


@dataclass(frozen=True, slots=True)
class MigrationTimeouts:
    """``wait_seconds`` for another migrate, rollback or backup to end; ``table_lock_seconds`` for each lock on a table, and that ``attempts``
    times."""

    wait_seconds: float
    table_lock_seconds: float
    attempts: int

    @classmethod
    def configured(
        cls, *, wait_seconds: float | None = None, table_lock_seconds: float | None = None, attempts: int | None = None
    ) -> MigrationTimeouts:
        """What the settings say, but for what is given."""
        return cls(
            settings.MIGRATE_WAIT_SECONDS if wait_seconds is None else wait_seconds,
            settings.MIGRATE_TABLE_LOCK_SECONDS if table_lock_seconds is None else table_lock_seconds,
            settings.MIGRATE_ATTEMPTS if attempts is None else attempts,
        )

    def pause_after(self, attempt: int) -> float:
        """Seconds before the next attempt: doubled each time, and never the same for two that began together."""
        return min(LONGEST_PAUSE, 2.0 ** (attempt - 1)) * random.uniform(0.5, 1.0)  # noqa: S311  # no secret
