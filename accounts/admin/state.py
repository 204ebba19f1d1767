"""State of a user (active, unconfirmed, deactivated, restricted, not matched, deleted or anonymized), as a column and a filter of the list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.models import User
from privacy.users import anonymized_email

if TYPE_CHECKING:
    from accounts.models import UserQuerySet

LABELS = {
    "active": "success",
    "unconfirmed": "warning",
    "deactivated": "warning",
    "restricted": "warning",
    "not matched": "warning",
    "deleted": "danger",
    "anonymized": "info",
}
"""Label color by state."""


def state_of(user: User) -> str:
    if user.email == anonymized_email(user.pk):
        return "anonymized"
    if user.deleted_at is not None:
        return "deleted"
    if user.restricted_at is not None:
        return "restricted"
    if user.objected_at is not None:
        return "not matched"
    if not user.active:
        return "deactivated"
    return "active" if user.unconfirmed_at is None else "unconfirmed"


class StateFilter(admin.SimpleListFilter):
    """Filter with six fixed choices, which need no query."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("active", "Active"),
            ("unconfirmed", "Unconfirmed after a restore"),
            ("deactivated", "Deactivated"),
            ("restricted", "Restricted"),
            ("not-matched", "Not matched after an objection"),
            ("deleted", "Deleted or anonymized"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> QuerySet[User]:
        users: UserQuerySet = queryset  # type: ignore[assignment]  # the manager's own class
        match self.value():
            case "active":
                return users.processable().filter(active=True, unconfirmed_at__isnull=True)
            case "unconfirmed":
                return users.processable().filter(active=True, unconfirmed_at__isnull=False)
            case "deactivated":
                return users.processable().filter(active=False)
            case "restricted":
                return users.alive().filter(restricted_at__isnull=False)
            case "not-matched":
                return users.alive().filter(objected_at__isnull=False, restricted_at__isnull=True)
            case "deleted":
                return users.filter(deleted_at__isnull=False)
        return users
