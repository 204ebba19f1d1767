"""Accounts with rights after a restore: disabled until the operator confirms them.

A backup knows nothing of what happened after it. An administrator who was dismissed since is back, with the password and the permissions of that time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.contrib.auth.models import Group, Permission
from django.contrib.postgres.functions import TransactionNow
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from accounts.models import User
from findme.core.errors import UserFacingError
from findme.core.plurals import counted, plural
from privacy.audit import Action, record_each


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """A disabled account, and what it may do once it is confirmed. ``permissions`` are its own and those of its groups."""

    id: UUID
    email: str
    since: datetime
    is_superuser: bool
    is_staff: bool
    groups: tuple[str, ...]
    permissions: tuple[str, ...]
    last_login: datetime | None


def with_rights() -> QuerySet[User]:
    """Return the users who are staff or superusers, or who have a group or a permission."""
    of_user = {"user_id": OuterRef("pk")}
    groups, permissions = User.groups.through.objects.filter(**of_user), User.user_permissions.through.objects.filter(**of_user)
    found: QuerySet[User] = User.objects.filter(Q(is_staff=True) | Q(is_superuser=True) | Exists(groups) | Exists(permissions))
    return found


def disable_staff() -> str:
    """Disable every account with rights, and return a sentence. An account that is disabled already keeps its time."""
    disabled = with_rights().filter(unconfirmed_at=None).update(unconfirmed_at=TransactionNow())
    if not disabled:
        return ""
    accounts = f"{counted(disabled, 'account')} with rights {plural(disabled, 'was', 'were')} disabled"
    return f"{accounts}. Run manage.py confirm_staff --list, then confirm those that are still valid."


def unconfirmed() -> list[Unconfirmed]:
    """Return the disabled accounts, by e-mail address."""
    rows = User.objects.filter(unconfirmed_at__isnull=False).order_by("email").prefetch_related("groups")
    return [_described(user, user.unconfirmed_at) for user in rows if user.unconfirmed_at is not None]


def confirm(user_ids: Sequence[UUID]) -> list[UUID]:
    """Enable these accounts again, and return those that were disabled. The audit log gets an entry for each.

    Raise UserFacingError, with nothing changed, for an id that is no account.
    """
    with transaction.atomic():
        found = dict(User.objects.select_for_update(no_key=True).filter(pk__in=user_ids).order_by("pk").values_list("pk", "unconfirmed_at"))
        if unknown := [user_id for user_id in user_ids if user_id not in found]:
            raise UserFacingError(
                f"PostgreSQL has no user with the id {str(unknown[0])!r}: nothing was changed. See manage.py confirm_staff --list"
            )
        confirmed = [user_id for user_id, since in found.items() if since is not None]
        User.objects.filter(pk__in=confirmed).update(unconfirmed_at=None)
        record_each(Action.CONFIRM_STAFF, confirmed, actor_id=None)
    return confirmed


def _described(user: User, since: datetime) -> Unconfirmed:
    groups = [group.name for group in user.groups.all()]
    permissions = Permission.objects.filter(Q(user=user) | Q(group__in=Group.objects.filter(user=user)))
    names = permissions.order_by("content_type__app_label", "codename").values_list("content_type__app_label", "codename")
    return Unconfirmed(
        id=user.pk,
        email=user.email,
        since=since,
        is_superuser=user.is_superuser,
        is_staff=user.is_staff,
        groups=tuple(sorted(groups)),
        permissions=tuple(f"{app}.{codename}" for app, codename in names.distinct()),
        last_login=user.last_login,
    )
