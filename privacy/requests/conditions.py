"""Conditions of the steps of a request, each with a one-line error."""

from __future__ import annotations

from datetime import date
from uuid import UUID

from django.contrib.auth import get_user_model

from findme.core.db.dates import FIRST_DATE
from findme.core.errors import UserFacingError
from privacy.actions.restriction import counts_of_stop
from privacy.actions.stores import store_sessions
from privacy.audit import operating_system_account
from privacy.local_dates import today
from privacy.models import DataSubjectRequest, ErasedUser
from privacy.models.request_choices import GROUNDS, SWITCHED, WITHOUT_IDENTITY, Ground, Kind, Processing, State
from privacy.models.requests import MAX_CONTACT_LENGTH
from privacy.registry import registry
from privacy.users import anonymized_email, user_exists, user_row


def past_day(day: date | None) -> date:
    """Return the day, by default today. Raise UserFacingError if it is in the future, or too early for a column."""
    current = today()
    if day is not None and day < FIRST_DATE:
        raise UserFacingError(f"{day} is before {FIRST_DATE}, the first possible day: nothing was changed. Correct the date.")
    if day is not None and day > current:
        raise UserFacingError(f"{day} is in the future, and today is {current}: nothing was changed. Correct the date.")
    return day or current


def require_after_receipt(request: DataSubjectRequest, day: date) -> None:
    if day < request.received_on:
        raise UserFacingError(
            f"Request {request.pk} was received on {request.received_on}, after {day}: nothing was changed. Correct the date of the step."
        )


def require_known_user(user_id: UUID) -> None:
    if not user_exists(user_id) and not ErasedUser.objects.filter(pk=user_id).exists():
        raise UserFacingError(
            f"FindMe has and had no user with the id {str(user_id)!r}: nothing was changed. Correct --user, or leave it out."
        )


def is_recorder(request: DataSubjectRequest, actor_id: UUID | None) -> bool:
    if actor_id is None:
        return request.recorded_by_account == operating_system_account()
    return request.recorded_by_id == actor_id


def require_ground(request: DataSubjectRequest, ground: Ground) -> None:
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


def clean_contact(text: str) -> str:
    contact = " ".join(text.split())
    if not contact or not contact.isprintable() or len(contact) > MAX_CONTACT_LENGTH:
        raise UserFacingError(
            f"The contact address is empty, has characters that cannot be printed, or has more than {MAX_CONTACT_LENGTH}: nothing was changed."
            " Correct it."
        )
    return contact


def address_for_the_answer(kind: Kind, user_id: UUID | None) -> str | None:
    """Return the address of the account for an erasure, None for other requests of a user. Raise UserFacingError without any address."""
    if user_id is not None:
        if kind != Kind.ERASURE:
            return None
        email: str | None = get_user_model()._base_manager.filter(pk=user_id).values_list("email", flat=True).first()
        if email is not None and email != anonymized_email(user_id):
            return email
    raise UserFacingError("There is no address for the answer: nothing was recorded. Add --contact ADDRESS.")


def require_stopped_processing(request: DataSubjectRequest) -> None:
    """Raise UserFacingError if FindMe can see that the processing still takes place, or cannot see it because a store is unavailable.

    Call this before any lock in PostgreSQL. For other processings FindMe sees nothing, and the officer's word counts.
    """
    processing = Processing(request.processing)
    if processing not in SWITCHED or request.user_id is None or not user_exists(request.user_id):
        return
    user = user_row(request.user_id)
    command = f"manage.py stop_matching {user.user_id}{' --delete-embedding' if processing == Processing.EMBEDDING else ''}"
    if (user.objected_at is None and user.deleted_at is None) or counts_of_stop(user.user_id, processing):
        raise UserFacingError(f"The processing of request {request.pk} is not stopped: nothing was changed. Run {command}")
    with store_sessions():
        for store in registry.stores:
            if store.is_projection and store.holds(user.user_id):
                raise UserFacingError(
                    f"The {store.name} still has the user of request {request.pk}: nothing was changed. Run manage.py sync_qdrant --once, or {command}"
                )


def may_be_rectified(user_id: UUID) -> bool:
    """Return whether an approved request of the user demands a rectification. Then even restricted data may be changed (article 18 (2))."""
    return DataSubjectRequest.objects.filter(user_id=user_id, kind=Kind.RECTIFICATION, state=State.APPROVED).exists()
