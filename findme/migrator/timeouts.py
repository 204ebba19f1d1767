"""How long ``migrate`` and ``rollback`` wait, and for what."""

from __future__ import annotations

import random
from dataclasses import dataclass

from django.conf import settings

LONGEST_PAUSE = 15.0


@dataclass(frozen=True, slots=True)
class MigrationTimeouts:
    """``lock_seconds`` for another migrate, rollback or backup to end; ``lock_timeout`` seconds for each lock on a table, and that ``attempts``
    times."""

    lock_seconds: float
    lock_timeout: float
    attempts: int

    @classmethod
    def configured(
        cls, *, lock_seconds: float | None = None, lock_timeout: float | None = None, attempts: int | None = None
    ) -> MigrationTimeouts:
        """What the settings say, but for what is given."""
        return cls(
            settings.MIGRATE_LOCK_SECONDS if lock_seconds is None else lock_seconds,
            settings.MIGRATE_LOCK_TIMEOUT if lock_timeout is None else lock_timeout,
            settings.MIGRATE_ATTEMPTS if attempts is None else attempts,
        )

    def pause_after(self, attempt: int) -> float:
        """Seconds before the next attempt: doubled each time, and never the same for two that began together."""
        return min(LONGEST_PAUSE, 2.0 ** (attempt - 1)) * random.uniform(0.5, 1.0)  # noqa: S311  # no secret
