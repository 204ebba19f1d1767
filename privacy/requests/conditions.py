"""Conditions of the steps of a request, each with a one-line error."""

from __future__ import annotations

from datetime import date
from uuid import UUID

from django.contrib.auth import get_user_model

from findme.core.errors import UserFacingError
from privacy.audit import operating_system_account
from privacy.models import DataSubjectRequest, ErasedUser
from privacy.models.request_choices import GROUNDS, WITHOUT_IDENTITY, Ground, Kind
from privacy.models.requests import MAX_CONTACT_LENGTH
from privacy.requests.deadlines import today
from privacy.users import anonymized_email, user_exists


def past_day(day: date | None) -> date:
    """Return the day, by default today. Raise UserFacingError if it is in the future."""
    current = today()
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
