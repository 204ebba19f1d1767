"""Look up the user of a privacy action."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.contrib.auth import get_user_model

from findme.core.errors import UserFacingError


def find_user_id(text: str) -> UUID:
    """Return the user id for a UUID or an e-mail address, in upper or lower case.

    PostgreSQL need not have the UUID. Raise UserFacingError for an unknown address, and for any other text.
    """
    try:
        return UUID(text)
    except ValueError:
        pass
    if "@" not in text or not text.isprintable():
        raise UserFacingError(f"{text!r} is neither a UUID nor an e-mail address. Pass one of them.")
    user_id: UUID | None = get_user_model().objects.with_email(text).values_list("pk", flat=True).first()
    if user_id is None:
        raise UserFacingError(f"No user has the e-mail address {text!r}. Anonymized or deleted users can only be found by UUID.")
    return user_id


def anonymized_email(user_id: UUID) -> str:
    """Return the value of ``email`` after an anonymization, in the form of the guide."""
    return f"deleted_{user_id}@findme.ai"


ROW_COLUMNS = ("pk", "email", "deleted_at", "restricted_at", "objected_at")
"""The columns of ``UserRow``."""


@dataclass(frozen=True, slots=True)
class UserRow:
    """Columns of a user's row that the privacy actions need."""

    user_id: UUID
    email: str
    deleted_at: datetime | None
    restricted_at: datetime | None = None
    objected_at: datetime | None = None

    @property
    def is_anonymized(self) -> bool:
        return self.email == anonymized_email(self.user_id)

    @property
    def is_stored_only(self) -> bool:
        """Return whether the user is restricted, and nothing else takes away the user's data in a store."""
        return self.restricted_at is not None and self.deleted_at is None and self.objected_at is None

    @property
    def is_hidden(self) -> bool:
        """Return whether no search and no match may have the user, so that the stores that are copies must not have the user either."""
        return any(since is not None for since in (self.deleted_at, self.restricted_at, self.objected_at))


def user_exists(user_id: UUID) -> bool:
    """Return whether PostgreSQL has the user: alive, soft-deleted or anonymized."""
    return get_user_model()._base_manager.filter(pk=user_id).exists()


def unknown_user(user_id: UUID) -> UserFacingError:
    """Return the error of all actions except an erasure, which may still find a point of the user."""
    return UserFacingError(
        f"PostgreSQL has no user with the id {str(user_id)!r}. If the vector store still has a point, run: manage.py erase_user {user_id} --hard"
    )


def user_row(user_id: UUID) -> UserRow:
    """Return the row of the user. Raise UserFacingError unless PostgreSQL has the user."""
    row = get_user_model()._base_manager.filter(pk=user_id).values_list(*ROW_COLUMNS).first()
    if row is None:
        raise unknown_user(user_id)
    return UserRow(*row)


def require_user(user_id: UUID) -> None:
    """Raise UserFacingError unless PostgreSQL has the user."""
    if not user_exists(user_id):
        raise unknown_user(user_id)
