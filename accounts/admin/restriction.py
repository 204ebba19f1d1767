"""Form rules for rows of restricted users (GDPR, article 18)."""

from __future__ import annotations

from django.core.exceptions import ValidationError

from accounts.models import User


def refuse_restricted(*users: User, rows: str) -> None:
    """Raise ValidationError if one of the users of a row is restricted. ``rows`` is a plural noun."""
    if any(user.is_unchangeable for user in users):
        raise ValidationError(
            f"A user of this row is restricted: {rows} of a restricted user can be changed only for their own approved request for a rectification."
        )
