"""Users that a staff member may act on. A permission covers members, never other staff or superusers."""

from __future__ import annotations

from typing import Any

SUPERUSERS_ONLY = "This user is a staff member: only a superuser may do this."
NOT_OWN_ACCOUNT = "You cannot do this to your own account: ask another superuser."


def denial_reason(actor: Any, user: Any, *, removes: bool) -> str | None:
    """Return why ``actor`` may not act on ``user``, whatever the permissions, or None.

    ``removes``: the action removes the account. No superuser can remove their own account. ``privacy.actions.superusers`` checks under a lock that
    two superusers do not remove each other.
    """
    if removes and actor.pk == user.pk:
        return NOT_OWN_ACCOUNT
    if not actor.is_superuser and (user.is_staff or user.is_superuser) and actor.pk != user.pk:
        return SUPERUSERS_ONLY
    return None
