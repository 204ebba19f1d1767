"""The record of an erasure: its sealed plan, its steps, and its ends.

A process can be killed between any two steps. The next one finds the record, and does what is left.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeAlias
from uuid import UUID

from django.db import transaction
from django.db.models import F, QuerySet

from findme.core.db.clock import database_clock
from findme.core.db.expressions import ClockTimestamp
from findme.core.errors import UserFacingError
from privacy.actions.plan import Plan
from privacy.ledger.book import POLICY_VERSION
from privacy.ledger.entry import Kind
from privacy.ledger.keys import subject_keys
from privacy.models import DataSubjectRequest, Erasure, ErasureStep, LedgerEntry

Step: TypeAlias = ErasureStep.Step
State: TypeAlias = Erasure.State
StopReason: TypeAlias = Erasure.StopReason
WaitsFor: TypeAlias = ErasureStep.WaitsFor

FIRST = (Step.FILES,)
"""The steps before the transaction. What they delete does not come back."""
IN_ONE_TRANSACTION = (Step.LOG_INS, Step.SESSIONS, Step.ADMIN_LOG, Step.ROWS, Step.POINT)
"""The steps that are done together with the commit, or not at all."""
PURGING = (Step.SCAN, Step.SEGMENTS, Step.SNAPSHOTS, Step.BACKUPS)
"""The steps between ``erased`` and ``purged``."""
PLAN_AGE = timedelta(days=30)
"""How long an approved plan may be carried out."""


class PlanRefused(UserFacingError):
    """The plan has changed since its approval, or is too old. Nothing was erased."""


def seal(user_id: UUID, plan: Plan, *, request: DataSubjectRequest | None = None, hid_user: bool = False) -> Erasure:
    """Record the plan, and return it. A sealed erasure that another process has recorded meanwhile is returned instead."""
    with transaction.atomic():
        row = Erasure(
            request=request,
            user_id=user_id,
            plan=dict(plan.counts),
            plan_digest=plan.digest,
            policy_version=plan.policy_version,
            hid_user=hid_user,
        )
        Erasure.objects.bulk_create([row], ignore_conflicts=True)
        erasure = Erasure.objects.get(user_id=user_id, state=State.SEALED)
        if erasure.pk == row.pk:
            ErasureStep.objects.bulk_create([ErasureStep(erasure=erasure, step=step) for step in (*FIRST, *IN_ONE_TRANSACTION, *PURGING)])
    return erasure


def sealed_erasure(user_id: UUID) -> Erasure | None:
    """Return the erasure of the user that is sealed and not done yet."""
    return Erasure.objects.filter(user_id=user_id, state=State.SEALED).first()


def last_erasure(request: DataSubjectRequest) -> Erasure | None:
    return Erasure.objects.filter(request=request).order_by("-sealed_at").first()


def stop(erasure: Erasure, reason: StopReason) -> None:
    """Stop an erasure that has erased nothing."""
    Erasure.objects.filter(pk=erasure.pk, state=State.SEALED).update(state=State.STOPPED, stopped_at=ClockTimestamp(), stop_reason=reason)


def require_plan(erasure: Erasure, plan: Plan) -> None:
    """Stop an erasure whose plan has changed or is too old, and raise PlanRefused."""
    again = f"manage.py privacy_request approve {erasure.request_id}" if erasure.request_id else "the same command"
    if database_clock() - erasure.sealed_at > PLAN_AGE:
        stop(erasure, StopReason.TOO_OLD)
        raise PlanRefused(
            f"The plan of the erasure {erasure.pk} is of {erasure.sealed_at:%Y-%m-%d}, and older than {PLAN_AGE.days} days: nothing was erased."
            f" Run {again} again."
        )
    if differences := plan.differences(erasure):
        stop(erasure, StopReason.PLAN_CHANGED)
        raise PlanRefused(
            f"The plan of the erasure {erasure.pk} has changed since its approval ({'; '.join(differences)}): nothing was erased. Run {again} again."
        )


def _not_done(erasure: Erasure, steps: Collection[Step]) -> QuerySet[ErasureStep]:
    return ErasureStep.objects.filter(erasure=erasure, step__in=steps, done_at__isnull=True)


def mark_done(erasure: Erasure, step: Step, count: int = 0) -> None:
    """Record that the step is done, and add to its count. A step that is done already keeps its time and its count."""
    _not_done(erasure, [step]).update(
        done_at=ClockTimestamp(), checked_at=ClockTimestamp(), count=F("count") + count, waits_for="", waits_until=None
    )


def mark_waiting(erasure: Erasure, steps: Collection[Step], waits_for: WaitsFor, until: datetime | None = None, *, count: int = 0) -> None:
    """Record why the steps are not done yet. ``count`` is what the step ``rows`` has done so far."""
    _not_done(erasure, steps).update(checked_at=ClockTimestamp(), waits_for=waits_for, waits_until=until)
    if count:
        add_to_step(erasure, Step.ROWS, count)


def add_to_step(erasure: Erasure, step: Step, count: int) -> None:
    """Add to the count of a step that is not done yet."""
    _not_done(erasure, [step]).update(count=F("count") + count)


def finish(erasure: Erasure, counts: Mapping[Step, int]) -> None:
    """Record in the caller's transaction that no one can reach the data any more. Do nothing if another process has recorded it."""
    for step in IN_ONE_TRANSACTION:
        mark_done(erasure, step, counts.get(step, 0))
    Erasure.objects.filter(pk=erasure.pk, state=State.SEALED).update(
        state=State.ERASED, erased_at=ClockTimestamp(), ledger_position=position_of(erasure.user)
    )


def record_batch(user_ids: Sequence[UUID], approval: bytes) -> None:
    """Record in the caller's transaction that these users were erased together, as one erasure.

    ``approval`` is the digest of the approved rules of retention. Nothing was counted but the users.
    """
    erasure = Erasure.objects.create(
        user_ids=list(user_ids), plan={"deleted.users": len(user_ids)}, plan_digest=approval, policy_version=POLICY_VERSION
    )
    done = {"done_at": ClockTimestamp(), "checked_at": ClockTimestamp()}
    counts = {Step.ROWS: len(user_ids)}
    ErasureStep.objects.bulk_create(
        [
            *(ErasureStep(erasure=erasure, step=step, count=counts.get(step, 0), **done) for step in (*FIRST, *IN_ONE_TRANSACTION)),
            *(ErasureStep(erasure=erasure, step=step) for step in PURGING),
        ]
    )
    Erasure.objects.filter(pk=erasure.pk).update(state=State.ERASED, erased_at=ClockTimestamp(), ledger_position=position_of(user_ids[-1]))


def note_position(erasure: Erasure) -> None:
    """Record the entry in the ledger of an erasure that has begun and must wait."""
    Erasure.objects.filter(pk=erasure.pk, state=State.SEALED).update(ledger_position=position_of(erasure.user))


def position_of(user_id: UUID) -> int | None:
    """Return the position of the user's last erasure in the ledger."""
    found = LedgerEntry.objects.filter(subject__in=subject_keys().subjects(user_id), kind=Kind.ERASE)
    return found.order_by("-position").values_list("position", flat=True).first()


def open_steps(erasure: Erasure, steps: Collection[Step]) -> list[ErasureStep]:
    return list(_not_done(erasure, steps).order_by("pk"))


def steps_of(erasure: Erasure) -> list[ErasureStep]:
    """Return the steps in their order, for a page or a command."""
    return list(ErasureStep.objects.filter(erasure=erasure).order_by("pk"))
