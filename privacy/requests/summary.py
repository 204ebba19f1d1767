"""A request as a value for commands: ids, dates and values of closed lists. The contact address is left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from django.db.models import F, Q, QuerySet

from privacy.local_dates import today
from privacy.models import DataSubjectRequest
from privacy.models.request_choices import Kind, State
from privacy.requests.erasure_summary import ErasureSummary, summarize_erasure
from privacy.requests.fulfilment import has_open_erasure, is_fulfilled, needs_new_plan
from privacy.requests.lifecycle import next_command
from privacy.requests.officer_tasks import officers_task


@dataclass(frozen=True, slots=True)
class RecipientSummary:
    recipient: str
    informed_on: date | None
    not_informed_reason: str | None


@dataclass(frozen=True, slots=True)
class RequestSummary:
    """One request. ``is_late`` is true if it was or is closed after its deadline, ``task`` is what the officer must do now."""

    id: UUID
    kind: str
    state: str
    user_id: UUID | None
    processing: str | None
    received_on: date
    first_due_on: date
    due_on: date
    is_late: bool
    is_paused: bool
    recorded_at: datetime
    recorded_by: str
    identity_asked_on: date | None
    identity_confirmed_on: date | None
    identity_method: str | None
    identity_confirmed_by: str | None
    paused_days: int
    extension_informed_on: date | None
    extension_reason: str | None
    approved_at: datetime | None
    approved_by: str | None
    stopped_on: date | None
    refusal_ground: str | None
    withdrawal_reason: str | None
    closed_on: date | None
    has_contact: bool
    recipients: tuple[RecipientSummary, ...]
    erasure: ErasureSummary | None
    task: str | None
    next: str | None


def summarize(request: DataSubjectRequest, day: date | None = None, *, in_list: bool = False) -> RequestSummary:
    """Return the summary on ``day``, by default today. With ``in_list``, leave out the erasure, which needs queries of its own."""
    return RequestSummary(
        id=request.pk,
        kind=str(request.kind),
        state=str(request.state),
        user_id=request.user_id,
        processing=str(request.processing) or None,
        received_on=request.received_on,
        first_due_on=request.first_due_on,
        due_on=request.due_on,
        is_late=request.is_late(day or today()),
        is_paused=request.is_paused,
        recorded_at=request.recorded_at,
        recorded_by=_actor(request.recorded_by_id, request.recorded_by_account),
        identity_asked_on=request.identity_asked_on,
        identity_confirmed_on=request.identity_confirmed_on,
        identity_method=str(request.identity_method) or None,
        identity_confirmed_by=_actor(request.identity_confirmed_by_id, request.identity_confirmed_by_account) or None,
        paused_days=request.paused_days,
        extension_informed_on=request.extension_informed_on,
        extension_reason=str(request.extension_reason) or None,
        approved_at=request.approved_at,
        approved_by=_actor(request.approved_by_id, request.approved_by_account) or None,
        stopped_on=request.stopped_on,
        refusal_ground=str(request.refusal_ground) or None,
        withdrawal_reason=str(request.withdrawal_reason) or None,
        closed_on=request.closed_on,
        has_contact=request.contact is not None,
        recipients=tuple(
            RecipientSummary(row.recipient, row.informed_on, row.not_informed_reason or None)
            for row in sorted(request.recipients.all(), key=lambda row: row.recipient)
        ),
        erasure=summarize_erasure(request) if request.kind == Kind.ERASURE and not in_list else None,
        task=officers_task(request, in_list=in_list) if request.state == State.APPROVED else None,
        next=_next(request, in_list=in_list) if request.is_open else None,
    )


def summarize_each(requests: Iterable[DataSubjectRequest]) -> Iterator[RequestSummary]:
    day = today()
    return (summarize(request, day, in_list=True) for request in requests)


def listed() -> QuerySet[DataSubjectRequest]:
    """Return all requests: the open ones by their deadline, then the closed ones, the last one first."""
    # PostgreSQL sorts NULL before other values in a descending order.
    return DataSubjectRequest.objects.order_by("-closed_on", "due_on", "pk").prefetch_related("recipients")


def open_requests() -> Q:
    return Q(closed_on__isnull=True)


def late(day: date) -> Q:
    """Return the condition of requests that are open after their deadline, or were closed after it: ``is_late`` of the model as SQL."""
    is_open = Q(closed_on__isnull=True, due_on__lt=day) & ~Q(state=State.IDENTITY_ASKED)
    was_paused = Q(identity_asked_on__isnull=False, identity_confirmed_on__isnull=True)
    is_refused_late = (was_paused & Q(identity_asked_on__gt=F("first_due_on"))) | (~was_paused & Q(closed_on__gt=F("first_due_on")))
    return is_open | Q(state=State.ANSWERED, closed_on__gt=F("due_on")) | (Q(state=State.REFUSED) & is_refused_late)


def _next(request: DataSubjectRequest, *, in_list: bool) -> str:
    if not in_list and has_open_erasure(request) and not is_fulfilled(request):
        return f"manage.py privacy_request erase {request.pk}"
    if not in_list and needs_new_plan(request):
        return f"manage.py privacy_request approve {request.pk}"
    return next_command(request)


def _actor(user_id: UUID | None, account: str) -> str:
    return str(user_id or account)
