"""At least one superuser stays, and of two who remove each other at the same moment only one succeeds."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX
from django.db import connection
from django.db.models import QuerySet

from findme.core.errors import UserFacingError

REMOVAL_LOCK = 7_021_339_562_118_406
"""Key of the advisory lock under which superusers are removed, one after the other. Any number that nothing else uses."""


def active_superusers() -> QuerySet[Any]:
    """Return the superusers who can open the admin, and have a password to log in with."""
    superusers = get_user_model()._base_manager.filter(is_superuser=True, is_staff=True, active=True, deleted_at__isnull=True)
    return superusers.exclude(password="").exclude(password__startswith=UNUSABLE_PASSWORD_PREFIX)  # no password


def check_removal(user_id: UUID, actor_id: UUID | None) -> None:
    """Raise UserFacingError if the removal of this user would leave no active superuser, or if the actor may not remove a superuser any
    more.

    Call it in the transaction that removes the user, deactivates them or takes their rights, after it has locked the user's row. It does nothing
    for a user who is no superuser. ``actor_id`` is None for a command. A lock on the row alone would not do: each of the two transactions locks
    another row and would still read the other user as a superuser.
    """
    if not active_superusers().filter(pk=user_id).exists():
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [REMOVAL_LOCK])
    staying = set(active_superusers().exclude(pk=user_id).values_list("pk", flat=True))
    if actor_id is not None and actor_id not in staying:
        raise UserFacingError("Your account is no longer that of an active superuser: nothing was changed. Ask another superuser.")
    if not staying:
        raise UserFacingError(f"{str(user_id)!r} is the last active superuser: nothing was changed. Run manage.py createsuperuser first.")
