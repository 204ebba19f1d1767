"""The steps of a request. Each changes one row and adds its entry to the audit log in the same transaction, or changes nothing.

``actor_id`` is the staff member, or None for a command. Every step raises UserFacingError if the request is unknown, in another state, or locked
by another transaction.
"""

from __future__ import annotations

from datetime import date
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from findme.core.errors import UserFacingError
from privacy.actions.rectifications import record_rectification
from privacy.audit import Action, actor_columns, record_failure_of_step, record_step
from privacy.models import DataSubjectRequest, RequestRecipient
from privacy.models.request_choices import (
    STOPPING,
    WITH_RECIPIENTS,
    ExtensionReason,
    Ground,
    Kind,
    Method,
    NotInformedReason,
    Processing,
    State,
    WithdrawalReason,
)
from privacy.requests.conditions import (
    address_for_the_answer,
    clean_contact,
    is_recorder,
    past_day,
    require_after_receipt,
    require_ground,
    require_known_user,
    require_stopped_processing,
)
from privacy.requests.deadlines import due_date
from privacy.requests.fulfilment import (
    is_erasure,
    needs_new_plan,
    record_shown,
    remove_hidden,
    require_fulfilled,
    seal_approved,
    stop_closed,
)
from privacy.requests.lifecycle import next_command, require_open, require_transition
from privacy.requests.locking import locked_step, one_line_errors, require


def record(
    kind: Kind,
    *,
    user_id: UUID | None = None,
    contact: str | None = None,
    processing: Processing | None = None,
    received_on: date | None = None,
    actor_id: UUID | None = None,
) -> DataSubjectRequest:
    """Record a request that was received on ``received_on``, by default today.

    Without ``contact``, an erasure gets the address of the user's account, because the answer must reach the data subject after the erasure.
    """
    received_on = past_day(received_on)
    if (kind in STOPPING) != (processing is not None):
        needs = "needs" if kind in STOPPING else "has no"
        raise UserFacingError(
            f"A request of the kind {kind.value!r} {needs} --processing: nothing was recorded. See manage.py privacy_request record --help"
        )
    if user_id is not None:
        require_known_user(user_id)
    contact = clean_contact(contact) if contact is not None else address_for_the_answer(kind, user_id)
    request = DataSubjectRequest(
        kind=kind,
        user_id=user_id,
        contact=contact,
        processing=processing or "",
        received_on=received_on,
        first_due_on=due_date(received_on),
        due_on=due_date(received_on),
        **actor_columns(actor_id, "recorded_by"),
    )
    with transaction.atomic(), one_line_errors(request.pk):
        request.save(force_insert=True)
        record_step(Action.REQUEST_RECORD, request, actor_id=actor_id)
    return require(request.pk)


def ask_identity(request_id: UUID, *, asked_on: date | None = None, actor_id: UUID | None = None) -> DataSubjectRequest:
    """Ask the data subject for proof of their identity. The deadline does not run until it is confirmed."""
    asked_on = past_day(asked_on)
    with locked_step(Action.REQUEST_ASK, request_id, actor_id) as request:
        require_transition(request, State.IDENTITY_ASKED)
        require_after_receipt(request, asked_on)
        if asked_on > request.due_on:
            raise UserFacingError(
                f"Request {request.pk} was due on {request.due_on}, and its identity was asked for on {asked_on}: nothing was changed."
                f" A deadline that is over cannot be paused. Run {next_command(request)}"
            )
        request.state, request.identity_asked_on = State.IDENTITY_ASKED, asked_on
    return request


def confirm_identity(
    request_id: UUID, method: Method, *, user_id: UUID | None = None, confirmed_on: date | None = None, actor_id: UUID | None = None
) -> DataSubjectRequest:
    """Confirm the identity, and that the data subject is the user ``user_id`` if the request names no user yet."""
    confirmed_on = past_day(confirmed_on)
    with locked_step(Action.REQUEST_IDENTIFY, request_id, actor_id) as request:
        require_transition(request, State.IDENTIFIED)
        require_after_receipt(request, confirmed_on)
        if request.identity_asked_on is not None and confirmed_on < request.identity_asked_on:
            raise UserFacingError(
                f"The identity of request {request.pk} was asked for on {request.identity_asked_on}, after {confirmed_on}: nothing was changed."
                " Correct --on."
            )
        if user_id is not None and request.user_id not in (None, user_id):
            raise UserFacingError(
                f"Request {request.pk} is of the user {request.user_id}, not of {user_id}: nothing was changed. Leave out --user,"
                " or record a new request."
            )
        if user_id is not None:
            require_known_user(user_id)
            request.user_id = user_id
        request.state, request.identity_method, request.identity_confirmed_on = State.IDENTIFIED, method, confirmed_on
        _set_actor(request, "identity_confirmed_by", actor_id)
        request.first_due_on = due_date(request.received_on, paused_days=request.paused_days)
        request.due_on = _due_date(request)
    return request


def extend(
    request_id: UUID, reason: ExtensionReason, *, informed_on: date | None = None, actor_id: UUID | None = None
) -> DataSubjectRequest:
    """Extend the deadline by two months. The data subject was informed of it and of the reason before the first deadline."""
    informed_on = past_day(informed_on)
    with locked_step(Action.REQUEST_EXTEND, request_id, actor_id) as request:
        require_open(request)
        require_after_receipt(request, informed_on)
        if request.kind == Kind.CONSENT_WITHDRAWAL:
            raise UserFacingError(
                f"Request {request.pk} withdraws consent, which has no extension: nothing was changed. Run {next_command(request)}"
            )
        if request.extension_informed_on is not None:
            raise UserFacingError(
                f"Request {request.pk} is already extended until {request.due_on}: nothing was changed. Run {next_command(request)}"
            )
        if informed_on > request.due_on:
            raise UserFacingError(
                f"Request {request.pk} was due on {request.due_on}, and the data subject was informed on {informed_on}: nothing was changed."
                f" A deadline that is over cannot be extended. Run {next_command(request)}"
            )
        request.extension_informed_on, request.extension_reason = informed_on, reason
        request.due_on = _due_date(request)
    return request


def approve(request_id: UUID, *, actor_id: UUID | None = None) -> DataSubjectRequest:
    """Approve the request. Neither its recorder nor the data subject may do this.

    The recipients of the setting ``REQUEST_RECIPIENTS`` become a list to tick off, if they must be informed (article 19). The plan of an erasure is
    sealed, and the user is hidden at once. An approved erasure whose plan was stopped is approved again, with a new plan.
    """
    with locked_step(Action.REQUEST_APPROVE, request_id, actor_id) as request:
        is_again = needs_new_plan(request)
        if not is_again:
            require_transition(request, State.APPROVED)
        if is_recorder(request, actor_id):
            raise UserFacingError(
                f"Request {request.pk} was recorded by the same account, which may not approve it: nothing was changed."
                " Ask another member of staff to approve it."
            )
        if actor_id is not None and actor_id == request.user_id:
            raise UserFacingError(
                f"Request {request.pk} is your own, and you may not approve it: nothing was changed. Ask another member of staff to approve it."
            )
        if not is_again:
            request.state, request.approved_at = State.APPROVED, timezone.now()
            _set_actor(request, "approved_by", actor_id)
        if is_erasure(request):
            seal_approved(request, actor_id)
        if request.kind in WITH_RECIPIENTS and not is_again:
            request.save(force_update=True)  # only an approved request can have recipients
            RequestRecipient.objects.bulk_create(
                [RequestRecipient(request=request, recipient=recipient) for recipient in settings.REQUEST_RECIPIENTS]
            )
    if is_erasure(request) and request.user_id is not None:
        remove_hidden(request.user_id)
    return request


def refuse(
    request_id: UUID, ground: Ground, *, informed_of_remedies: bool, informed_on: date | None = None, actor_id: UUID | None = None
) -> DataSubjectRequest:
    """Refuse the request. The data subject was informed of the ground, the right to complain and the judicial remedy (article 12 (4))."""
    informed_on = past_day(informed_on)
    with locked_step(Action.REQUEST_REFUSE, request_id, actor_id) as request:
        require_transition(request, State.REFUSED)
        require_after_receipt(request, informed_on)
        require_ground(request, ground)
        if not informed_of_remedies:
            raise UserFacingError(
                "A refusal must name the right to complain to a supervisory authority and the judicial remedy (article 12 (4)): nothing was"
                " changed. Inform the data subject, then add --informed-of-remedies."
            )
        stop_closed(request)
        request.state, request.refusal_ground, request.informed_of_remedies, request.closed_on = State.REFUSED, ground, True, informed_on
    record_shown(request)
    return request


def stop(request_id: UUID, *, stopped_on: date | None = None, actor_id: UUID | None = None) -> DataSubjectRequest:
    """Note that the officer has stopped the processing of an approved objection or withdrawal of consent.

    Raise UserFacingError also if FindMe can see that it was not stopped.
    """
    stopped_on = past_day(stopped_on)
    before = require(request_id)
    with record_failure_of_step(Action.REQUEST_STOP, before, actor_id=actor_id):
        if before.state == State.APPROVED and before.kind in STOPPING and before.stopped_on is None:
            require_stopped_processing(before)
    with locked_step(Action.REQUEST_STOP, request_id, actor_id) as request:
        require_open(request)
        require_after_receipt(request, stopped_on)
        if request.kind not in STOPPING or request.state != State.APPROVED or request.stopped_on is not None:
            reason = "has stopped the processing already" if request.stopped_on else "is no approved objection or withdrawal of consent"
            raise UserFacingError(f"Request {request.pk} {reason}: nothing was changed. Run {next_command(request)}")
        request.stopped_on = stopped_on
    return request


def answer(request_id: UUID, *, answered_on: date | None = None, actor_id: UUID | None = None) -> DataSubjectRequest:
    """Close the request, whose answer the data subject received. A rectification is recorded in the ledger first; raise as ``record_entries``."""
    answered_on = past_day(answered_on)
    before = require(request_id)
    if answered_on >= before.received_on:  # otherwise the step is refused
        record_rectification(before)
    with locked_step(Action.REQUEST_ANSWER, request_id, actor_id) as request:
        require_transition(request, State.ANSWERED)
        require_after_receipt(request, answered_on)
        if request.kind in STOPPING and (request.stopped_on is None or answered_on < request.stopped_on):
            raise UserFacingError(
                f"The processing of request {request.pk} was not stopped by {answered_on}: nothing was changed."
                f" Stop it, then run manage.py privacy_request stop {request.pk}"
            )
        require_fulfilled(request)
        request.state, request.closed_on = State.ANSWERED, answered_on
    return request


def withdraw(
    request_id: UUID, reason: WithdrawalReason, *, withdrawn_on: date | None = None, actor_id: UUID | None = None
) -> DataSubjectRequest:
    """Close the request, which the data subject withdrew or which was recorded wrongly."""
    withdrawn_on = past_day(withdrawn_on)
    with locked_step(Action.REQUEST_WITHDRAW, request_id, actor_id) as request:
        require_transition(request, State.WITHDRAWN)
        require_after_receipt(request, withdrawn_on)
        stop_closed(request)
        request.state, request.withdrawal_reason, request.closed_on = State.WITHDRAWN, reason, withdrawn_on
    record_shown(request)
    return request


def correct_contact(request_id: UUID, contact: str, *, actor_id: UUID | None = None) -> DataSubjectRequest:
    contact = clean_contact(contact)
    with locked_step(Action.REQUEST_CONTACT, request_id, actor_id) as request:
        require_open(request)
        request.contact = contact
    return request


def inform_recipient(
    request_id: UUID,
    recipient: str,
    *,
    informed_on: date | None = None,
    not_informed: NotInformedReason | None = None,
    actor_id: UUID | None = None,
) -> RequestRecipient:
    """Note that a recipient was informed, or why it was not (article 19)."""
    informed_on = None if not_informed is not None else past_day(informed_on)
    if recipient not in settings.REQUEST_RECIPIENTS:
        known = ", ".join(settings.REQUEST_RECIPIENTS) or "none"
        raise UserFacingError(f"{recipient!r} is not a recipient of REQUEST_RECIPIENTS ({known}): nothing was changed. Add it there first.")
    with locked_step(Action.REQUEST_INFORM, request_id, actor_id) as request:
        if request.kind not in WITH_RECIPIENTS or request.state not in (State.APPROVED, State.ANSWERED):
            raise UserFacingError(
                f"Request {request.pk} is no approved rectification, erasure or restriction, so no recipient must be informed: nothing was"
                f" changed. Run manage.py privacy_request show {request.pk}"
            )
        row = RequestRecipient.objects.filter(request=request, recipient=recipient).first()
        if row is None:
            row = RequestRecipient(request=request, recipient=recipient)
        elif row.is_settled:
            raise UserFacingError(
                f"Request {request.pk} already has the outcome for {recipient!r}: nothing was changed. Run manage.py privacy_request show"
                f" {request.pk}"
            )
        if informed_on is not None:
            require_after_receipt(request, informed_on)
        row.informed_on, row.not_informed_reason = informed_on, not_informed or ""
        row.save()
    return row


def _set_actor(request: DataSubjectRequest, prefix: str, actor_id: UUID | None) -> None:
    for column, value in actor_columns(actor_id, prefix).items():
        setattr(request, column, value)


def _due_date(request: DataSubjectRequest) -> date:
    return due_date(request.received_on, is_extended=request.extension_informed_on is not None, paused_days=request.paused_days)
