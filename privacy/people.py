"""Who is meant: the USER of a command, and the errors about people who are not there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.contrib.auth import get_user_model

from findme.core.errors import UserFacingError


def find_person(text: str) -> UUID:
    """The id of the person whom TEXT names: a UUID, whether PostgreSQL knows it or not, or an e-mail address in whatever case.

    Raises UserFacingError for an address that nobody has, and for a text that is neither.
    """
    try:
        return UUID(text)
    except ValueError:
        pass
    if "@" not in text or not text.isprintable():
        raise UserFacingError(f"{text!r} is neither a UUID nor an e-mail address.")
    user_id: UUID | None = get_user_model().objects.with_email(text).values_list("pk", flat=True).first()
    if user_id is None:
        raise UserFacingError(
            f"Nobody has the e-mail address {text!r}. Somebody who was anonymized or deleted for good is found by their UUID only."
        )
    return user_id


def anonymized_email(user_id: UUID) -> str:
    """What stands in ``email`` after an anonymization: the guide's form."""
    return f"deleted_{user_id}@findme.ai"


@dataclass(frozen=True, slots=True)
class Person:
    """What the privacy actions need to know of a person's row."""

    user_id: UUID
    email: str
    deleted_at: datetime | None

    @property
    def is_anonymized(self) -> bool:
        return self.email == anonymized_email(self.user_id)


def exists(user_id: UUID) -> bool:
    """Whether PostgreSQL knows the person: alive, softly deleted or anonymized."""
    return get_user_model()._base_manager.filter(pk=user_id).exists()


def unknown(user_id: UUID) -> UserFacingError:
    """For everything but an erasure, which may still find a point of theirs."""
    return UserFacingError(
        f"PostgreSQL knows nobody with the id {str(user_id)!r}. If the vector store still does: manage.py erase_user {user_id} --hard"
    )


def require_person(user_id: UUID) -> None:
    """Raises UserFacingError unless PostgreSQL knows the person."""
    if not exists(user_id):
        raise unknown(user_id)
