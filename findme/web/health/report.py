"""The report of ``/readyz``: statuses, counts and ages. It has no personal data and no host names."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    OK = "ok"
    UNAVAILABLE = "unavailable"
    NO_ANSWER = "no answer in time"
    BEHIND = "not all applied"
    BROKEN = "not as migrated"
    RESTORED = "behind the ledger outside"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Sync:
    """How far Qdrant lags. It does not affect readiness: an old queue entry is no reason to take a web process out of service."""

    oldest_entry_seconds: float | None
    """None while the queue is empty."""
    queued: int
    """Counted up to 1,001."""
    quarantined: int
    """Counted up to 1,001."""
    workers: int
    """Workers with a heartbeat in the last minute."""


@dataclass(frozen=True, slots=True)
class Privacy:
    """Privacy actions that the ledger does not have yet, or that are not complete. They do not affect readiness."""

    oldest_pending_seconds: float | None
    """None if nothing is pending."""


@dataclass(frozen=True, slots=True)
class PostgresqlReport:
    postgresql: Status
    migrations: Status = Status.UNKNOWN
    triggers: Status = Status.UNKNOWN
    unapplied_migrations: int | None = None
    schema_problems: int | None = None
    sync: Sync | None = None
    """None if it could not be read."""
    ledger: Status = Status.UNKNOWN
    privacy: Privacy | None = None
    """None if it could not be read."""


@dataclass(frozen=True, slots=True)
class Report:
    postgresql: PostgresqlReport
    qdrant: Status

    @property
    def checks(self) -> dict[str, Status]:
        """The checks that decide whether the process is ready."""
        stores = self.postgresql
        return {
            "postgresql": stores.postgresql,
            "qdrant": self.qdrant,
            "migrations": stores.migrations,
            "triggers": stores.triggers,
            "ledger": stores.ledger,
        }

    @property
    def is_ready(self) -> bool:
        """Return whether the process can work. An unavailable ledger delays erasures only."""
        checks = self.checks
        ledger = checks.pop("ledger")
        return all(status is Status.OK for status in checks.values()) and ledger is not Status.RESTORED

    def as_json(self) -> dict[str, Any]:
        stores = self.postgresql
        return {
            "status": "ready" if self.is_ready else "not ready",
            "checks": self.checks,
            "unapplied_migrations": stores.unapplied_migrations,
            "schema_problems": stores.schema_problems,
            "sync": None if stores.sync is None else asdict(stores.sync),
            "privacy": None if stores.privacy is None else asdict(stores.privacy),
        }
