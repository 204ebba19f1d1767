"""State of a user (active, deactivated, deleted or anonymized), as a column and a filter of the list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.models import User
from privacy.users import anonymized_email

if TYPE_CHECKING:
    from accounts.models import UserQuerySet

LABELS = {"active": "success", "deactivated": "warning", "deleted": "danger", "anonymized": "info"}
"""Label color by state."""


def state_of(user: User) -> str:
    if user.email == anonymized_email(user.pk):
        return "anonymized"
    if user.deleted_at is not None:
        return "deleted"
    return "active" if user.active else "deactivated"


class StateFilter(admin.SimpleListFilter):
    """Filter with three fixed choices, which need no query."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("active", "Active"), ("deactivated", "Deactivated"), ("deleted", "Deleted or anonymized")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> QuerySet[User]:
        users: UserQuerySet = queryset  # type: ignore[assignment]  # the manager's own class
        match self.value():
            case "active":
                return users.alive().filter(active=True)
            case "deactivated":
                return users.alive().filter(active=False)
            case "deleted":
                return users.filter(deleted_at__isnull=False)
        return users
