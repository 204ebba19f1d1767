"""Staff members are removed by superusers only, and at least one superuser stays, even if two superusers remove each other at the same time."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX
from django.db import connection
from django.db.models import Q, QuerySet

from findme.core.errors import UserFacingError

REMOVAL_LOCK = 7_021_339_562_118_406
"""Key of the advisory lock that serializes removals of superusers. Any otherwise unused number."""


def active_superusers() -> QuerySet[Any]:
    """Return the superusers who can open the admin and have a password."""
    superusers = get_user_model()._base_manager.filter(
        is_superuser=True, is_staff=True, active=True, deleted_at__isnull=True, unconfirmed_at__isnull=True
    )
    return superusers.exclude(password="").exclude(password__startswith=UNUSABLE_PASSWORD_PREFIX)


def check_staff(user_id: UUID, actor_id: UUID | None) -> None:
    """Raise UserFacingError if the user is a staff member, and the actor is neither a superuser nor a command (None)."""
    users = get_user_model()._base_manager
    if actor_id is None or not users.filter(Q(is_staff=True) | Q(is_superuser=True), pk=user_id).exists():
        return
    if not active_superusers().filter(pk=actor_id).exists():
        raise UserFacingError(f"{str(user_id)!r} is a staff member: nothing was changed. Ask a superuser.")


def check_removal(user_id: UUID, actor_id: UUID | None) -> None:
    """Raise UserFacingError if no active superuser would remain, or if the actor is no longer one.

    Call this in the transaction that removes or deactivates the user or revokes permissions, after it has locked the user's row. It does nothing
    for a user who is not an active superuser. ``actor_id`` is None for a command. A row lock is not enough: two transactions that remove each
    other's actor lock different rows, and each would still see the other user as a superuser.
    """
    if not active_superusers().filter(pk=user_id).exists():
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [REMOVAL_LOCK])
    remaining = set(active_superusers().exclude(pk=user_id).values_list("pk", flat=True))
    if actor_id is not None and actor_id not in remaining:
        raise UserFacingError("Your account is no longer an active superuser: nothing was changed. Ask another superuser.")
    if not remaining:
        raise UserFacingError(f"{str(user_id)!r} is the last active superuser: nothing was changed. Run manage.py createsuperuser first.")
