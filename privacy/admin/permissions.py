"""Which users a member of the staff may act on: a permission lets them look after members, and never after one another or those above them."""

from __future__ import annotations

from typing import Any

SUPERUSERS_ONLY = "This person is of the staff: only a superuser may do this."
NOT_TO_ONESELF = "Nobody does this to themself: ask another superuser."


def denial_reason(actor: Any, person: Any, *, removes: bool) -> str | None:
    """Why ACTOR may not do something to PERSON (both people), whatever their permissions; None if they may.

    REMOVES: it takes the account away. No superuser removes themself; two who remove each other are checked once more under a lock
    (``privacy.actions.superusers``).
    """
    if removes and actor.pk == person.pk:
        return NOT_TO_ONESELF
    if not actor.is_superuser and (person.is_staff or person.is_superuser) and actor.pk != person.pk:
        return SUPERUSERS_ONLY
    return None
