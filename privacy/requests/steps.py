"""The steps of a request. Each changes one row and adds its entry to the audit log in the same transaction, or changes nothing.

``actor_id`` is the staff member, or None for a command. Every step raises UserFacingError if the request is unknown, in another state, or locked
by another transaction.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from uuid import UUID

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import IntegrityError, OperationalError, connection, transaction
from django.utils import timezone
from psycopg import errors

from findme.core.errors import UserFacingError
from privacy.audit import Action, actor_columns, operating_system_account, record_failure_of_step, record_step
from privacy.models import DataSubjectRequest, ErasedUser, RequestRecipient
from privacy.models.request_choices import (
    GROUNDS,
    STOPPING,
    WITH_RECIPIENTS,
    WITHOUT_IDENTITY,
    ExtensionReason,
    Ground,
    Kind,
    Method,
    NotInformedReason,
    Processing,
    State,
    WithdrawalReason,
)
from privacy.models.requests import MAX_CONTACT_LENGTH
from privacy.requests.deadlines import due_date, today
from privacy.requests.lifecycle import next_command, require_open, require_transition
from privacy.users import anonymized_email, user_exists

LOCK_SECONDS = 5
"""How long to wait for another transaction that changes the same request."""


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
    received_on = _past(received_on)
    if (kind in STOPPING) != (processing is not None):
        needs = "needs" if kind in STOPPING else "has no"
        raise UserFacingError(
            f"A request of the kind {kind.value!r} {needs} --processing: nothing was recorded. See manage.py privacy_request record --help"
        )
    if user_id is not None:
        _require_known_user(user_id)
    contact = _contact(contact) if contact is not None else _address_for_the_answer(kind, user_id)
    request = DataSubjectRequest(
        kind=kind,
        user_id=user_id,
        contact=contact,
        processing=processing or "",
        received_on=received_on,
        due_on=due_date(received_on),
        **actor_columns(actor_id, "recorded_by"),
    )
    with transaction.atomic(), _one_line_errors(request.pk):
        request.save(force_insert=True)
        record_step(Action.REQUEST_RECORD, request, actor_id=actor_id)
    return require(request.pk)


def require(request_id: UUID) -> DataSubjectRequest:
    """Return the request. Raise UserFacingError if there is none."""
    request = DataSubjectRequest.objects.filter(pk=request_id).first()
    if request is None:
        raise UserFacingError(f"There is no request {str(request_id)!r}: nothing was changed. Run manage.py privacy_request list")
    return request


def ask_identity(request_id: UUID, *, asked_on: date | None = None, actor_id: UUID | None = None) -> DataSubjectRequest:
    """Ask the data subject for proof of their identity. The deadline does not run until it is confirmed."""
    asked_on = _past(asked_on)
    with _step(Action.REQUEST_ASK, request_id, actor_id) as request:
        require_transition(request, State.IDENTITY_ASKED)
        _require_after_receipt(request, asked_on)
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
    confirmed_on = _past(confirmed_on)
    with _step(Action.REQUEST_IDENTIFY, request_id, actor_id) as request:
        require_transition(request, State.IDENTIFIED)
        _require_after_receipt(request, confirmed_on)
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
            _require_known_user(user_id)
            request.user_id = user_id
        request.state, request.identity_method, request.identity_confirmed_on = State.IDENTIFIED, method, confirmed_on
        _set_actor(request, "identity_confirmed_by", actor_id)
        request.due_on = _due_date(request)
    return request


def extend(
    request_id: UUID, reason: ExtensionReason, *, informed_on: date | None = None, actor_id: UUID | None = None
) -> DataSubjectRequest:
    """Extend the deadline by two months. The data subject was informed of it and of the reason before the first deadline."""
    informed_on = _past(informed_on)
    with _step(Action.REQUEST_EXTEND, request_id, actor_id) as request:
        require_open(request)
        _require_after_receipt(request, informed_on)
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

    The recipients of the setting ``REQUEST_RECIPIENTS`` become a list to tick off, if they must be informed (article 19).
    """
    with _step(Action.REQUEST_APPROVE, request_id, actor_id) as request:
        require_transition(request, State.APPROVED)
        if _is_recorder(request, actor_id):
            raise UserFacingError(
                f"Request {request.pk} was recorded by the same account, which may not approve it: nothing was changed."
                " Ask another member of staff to approve it."
            )
        if actor_id is not None and actor_id == request.user_id:
            raise UserFacingError(
                f"Request {request.pk} is your own, and you may not approve it: nothing was changed. Ask another member of staff to approve it."
            )
        request.state, request.approved_at = State.APPROVED, timezone.now()
        _set_actor(request, "approved_by", actor_id)
    return request


def refuse(
    request_id: UUID, ground: Ground, *, informed_of_remedies: bool, informed_on: date | None = None, actor_id: UUID | None = None
) -> DataSubjectRequest:
    """Refuse the request. The data subject was informed of the ground, the right to complain and the judicial remedy (article 12 (4))."""
    informed_on = _past(informed_on)
    with _step(Action.REQUEST_REFUSE, request_id, actor_id) as request:
        require_transition(request, State.REFUSED)
        _require_after_receipt(request, informed_on)
        _require_ground(request, ground)
        if not informed_of_remedies:
            raise UserFacingError(
                "A refusal must name the right to complain to a supervisory authority and the judicial remedy (article 12 (4)): nothing was"
                " changed. Inform the data subject, then add --informed-of-remedies."
            )
        request.state, request.refusal_ground, request.informed_of_remedies, request.closed_on = State.REFUSED, ground, True, informed_on
    return request


def stop(request_id: UUID, *, stopped_on: date | None = None, actor_id: UUID | None = None) -> DataSubjectRequest:
    """Note that the officer has stopped the processing of an approved objection or withdrawal of consent."""
    stopped_on = _past(stopped_on)
    with _step(Action.REQUEST_STOP, request_id, actor_id) as request:
        require_open(request)
        _require_after_receipt(request, stopped_on)
        if request.kind not in STOPPING or request.state != State.APPROVED or request.stopped_on is not None:
            reason = "has stopped the processing already" if request.stopped_on else "is no approved objection or withdrawal of consent"
            raise UserFacingError(f"Request {request.pk} {reason}: nothing was changed. Run {next_command(request)}")
        request.stopped_on = stopped_on
    return request


def answer(request_id: UUID, *, answered_on: date | None = None, actor_id: UUID | None = None) -> DataSubjectRequest:
    """Close the request, whose answer the data subject received."""
    answered_on = _past(answered_on)
    with _step(Action.REQUEST_ANSWER, request_id, actor_id) as request:
        require_transition(request, State.ANSWERED)
        _require_after_receipt(request, answered_on)
        if request.kind in STOPPING and (request.stopped_on is None or answered_on < request.stopped_on):
            raise UserFacingError(
                f"The processing of request {request.pk} was not stopped by {answered_on}: nothing was changed."
                f" Stop it, then run manage.py privacy_request stop {request.pk}"
            )
        request.state, request.closed_on = State.ANSWERED, answered_on
    return request


def withdraw(
    request_id: UUID, reason: WithdrawalReason, *, withdrawn_on: date | None = None, actor_id: UUID | None = None
) -> DataSubjectRequest:
    """Close the request, which the data subject withdrew or which was recorded wrongly."""
    withdrawn_on = _past(withdrawn_on)
    with _step(Action.REQUEST_WITHDRAW, request_id, actor_id) as request:
        require_transition(request, State.WITHDRAWN)
        _require_after_receipt(request, withdrawn_on)
        request.state, request.withdrawal_reason, request.closed_on = State.WITHDRAWN, reason, withdrawn_on
    return request


def correct_contact(request_id: UUID, contact: str, *, actor_id: UUID | None = None) -> DataSubjectRequest:
    contact = _contact(contact)
    with _step(Action.REQUEST_CONTACT, request_id, actor_id) as request:
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
    informed_on = None if not_informed is not None else _past(informed_on)
    if recipient not in settings.REQUEST_RECIPIENTS:
        known = ", ".join(settings.REQUEST_RECIPIENTS) or "none"
        raise UserFacingError(f"{recipient!r} is not a recipient of REQUEST_RECIPIENTS ({known}): nothing was changed. Add it there first.")
    with _step(Action.REQUEST_INFORM, request_id, actor_id) as request:
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
            _require_after_receipt(request, informed_on)
        row.informed_on, row.not_informed_reason = informed_on, not_informed or ""
        row.save()
    return row


@contextmanager
def _step(action: Action, request_id: UUID, actor_id: UUID | None) -> Iterator[DataSubjectRequest]:
    """Lock the request, save what the block changes, and add the entry to the audit log.

    If the block raises, nothing is changed, and the audit log has the failure.
    """
    before = require(request_id)
    with record_failure_of_step(action, before, actor_id=actor_id), _one_line_errors(request_id), transaction.atomic(durable=True):
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
        request = DataSubjectRequest.objects.select_for_update(no_key=True).get(pk=request_id)
        yield request
        request.save(force_update=True)
        if action == Action.REQUEST_APPROVE and request.kind in WITH_RECIPIENTS:
            RequestRecipient.objects.bulk_create(
                [RequestRecipient(request=request, recipient=recipient) for recipient in settings.REQUEST_RECIPIENTS]
            )
        record_step(action, request, actor_id=actor_id)


@contextmanager
def _one_line_errors(request_id: UUID) -> Iterator[None]:
    """Translate the refusals of the database. Their texts have ids and names of columns, and no address."""
    try:
        yield
    except IntegrityError as error:
        if not isinstance(error.__cause__, errors.CheckViolation):
            raise
        diagnosis = error.__cause__.diag
        rule = str(diagnosis.constraint_name)
        sentence = diagnosis.message_primary if rule.endswith("_step_check") else f"It breaks the rule {rule!r} of PostgreSQL."
        raise UserFacingError(
            f"{str(sentence).rstrip('.')}: nothing was changed. Run manage.py privacy_request show {request_id}"
        ) from error
    except OperationalError as error:
        if not isinstance(error.__cause__, errors.LockNotAvailable):
            raise
        raise UserFacingError(
            f"Another transaction changes the request {request_id}: nothing was changed after {LOCK_SECONDS} seconds. Run it again."
        ) from error


def _past(day: date | None) -> date:
    """Return the day, by default today. Raise UserFacingError if it is in the future."""
    current = today()
    if day is not None and day > current:
        raise UserFacingError(f"{day} is in the future, and today is {current}: nothing was changed. Correct the date.")
    return day or current


def _require_after_receipt(request: DataSubjectRequest, day: date) -> None:
    if day < request.received_on:
        raise UserFacingError(
            f"Request {request.pk} was received on {request.received_on}, after {day}: nothing was changed. Correct the date of the step."
        )


def _require_known_user(user_id: UUID) -> None:
    if not user_exists(user_id) and not ErasedUser.objects.filter(pk=user_id).exists():
        raise UserFacingError(
            f"FindMe has and had no user with the id {str(user_id)!r}: nothing was changed. Correct --user, or leave it out."
        )


def _is_recorder(request: DataSubjectRequest, actor_id: UUID | None) -> bool:
    if actor_id is None:
        return request.recorded_by_account == operating_system_account()
    return request.recorded_by_id == actor_id


def _require_ground(request: DataSubjectRequest, ground: Ground) -> None:
    allowed = GROUNDS[Kind(request.kind)]
    if ground not in allowed:
        raise UserFacingError(
            f"A request of the kind {request.kind!r} cannot be refused on the ground {ground.value!r}: nothing was changed."
            f" Use one of {', '.join(one.value for one in allowed)}."
        )
    if ground == Ground.NOT_IDENTIFIED and (request.identity_asked_on is None or request.identity_confirmed_on is not None):
        raise UserFacingError(
            f"Request {request.pk} does not wait for proof of identity, so the ground {ground.value!r} does not apply: nothing was changed."
            f" Run manage.py privacy_request ask-identity {request.pk}"
        )
    if ground not in WITHOUT_IDENTITY and request.identity_confirmed_on is None:
        raise UserFacingError(
            f"The ground {ground.value!r} tells the sender something about the data, and their identity is not confirmed: nothing was changed."
            f" Run manage.py privacy_request confirm-identity {request.pk} --method METHOD"
        )


def _contact(text: str) -> str:
    contact = " ".join(text.split())
    if not contact or not contact.isprintable() or len(contact) > MAX_CONTACT_LENGTH:
        raise UserFacingError(
            f"The contact address is empty, has characters that cannot be printed, or has more than {MAX_CONTACT_LENGTH}: nothing was changed."
            " Correct it."
        )
    return contact


def _address_for_the_answer(kind: Kind, user_id: UUID | None) -> str | None:
    """Return the address of the account for an erasure, None for other requests of a user. Raise UserFacingError without any address."""
    if user_id is not None:
        if kind != Kind.ERASURE:
            return None
        email: str | None = get_user_model()._base_manager.filter(pk=user_id).values_list("email", flat=True).first()
        if email is not None and email != anonymized_email(user_id):
            return email
    raise UserFacingError("There is no address for the answer: nothing was recorded. Add --contact ADDRESS.")


def _set_actor(request: DataSubjectRequest, prefix: str, actor_id: UUID | None) -> None:
    for column, value in actor_columns(actor_id, prefix).items():
        setattr(request, column, value)


def _due_date(request: DataSubjectRequest) -> date:
    return due_date(request.received_on, is_extended=request.extension_informed_on is not None, paused_days=request.paused_days)
