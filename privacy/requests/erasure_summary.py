"""The erasure of a request as a value for commands and pages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from privacy.actions.erasures import last_erasure, steps_of
from privacy.models import DataSubjectRequest, ErasureStep


@dataclass(frozen=True, slots=True)
class StepSummary:
    step: str
    done_at: datetime | None
    count: int
    waits_for: str | None
    waits_until: datetime | None

    def __str__(self) -> str:
        """Return a line such as ``point: waits for a store that is unavailable``."""
        if self.done_at is not None:
            return f"{self.step}: done at {self.done_at:%Y-%m-%d %H:%M}, {self.count}"
        if self.waits_for is None:
            return f"{self.step}: not done yet"
        until = f" until {self.waits_until:%Y-%m-%d}" if self.waits_until else ""
        return f"{self.step}: waits for {ErasureStep.WaitsFor(self.waits_for).label}{until}"


@dataclass(frozen=True, slots=True)
class ErasureSummary:
    """The last erasure of a request, without the id of the user."""

    id: UUID
    state: str
    stop_reason: str | None
    plan: dict[str, int]
    ledger_position: int | None
    sealed_at: datetime
    erased_at: datetime | None
    purged_at: datetime | None
    stopped_at: datetime | None
    steps: tuple[StepSummary, ...]


def summarize_erasure(request: DataSubjectRequest) -> ErasureSummary | None:
    found = last_erasure(request)
    if found is None:
        return None
    steps = [StepSummary(row.step, row.done_at, row.count, row.waits_for or None, row.waits_until) for row in steps_of(found)]
    return ErasureSummary(
        id=found.pk,
        state=str(found.state),
        stop_reason=str(found.stop_reason) or None,
        plan=found.plan,
        ledger_position=found.ledger_position,
        sealed_at=found.sealed_at,
        erased_at=found.erased_at,
        purged_at=found.purged_at,
        stopped_at=found.stopped_at,
        steps=tuple(steps),
    )
