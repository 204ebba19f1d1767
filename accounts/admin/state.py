"""Where a person stands: active, deactivated, deleted or anonymized; as a column and as a filter of the list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.models import User
from privacy.people import anonymized_email

if TYPE_CHECKING:
    from accounts.models import UserQuerySet

LABELS = {"active": "success", "deactivated": "warning", "deleted": "danger", "anonymized": "info"}
"""The color of each."""


def state_of(person: User) -> str:
    if person.email == anonymized_email(person.pk):
        return "anonymized"
    if person.deleted_at is not None:
        return "deleted"
    return "active" if person.active else "deactivated"


class StateFilter(admin.SimpleListFilter):
    """Three choices that are known without asking the database."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("active", "Active"), ("deactivated", "Deactivated"), ("deleted", "Deleted or anonymized")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> QuerySet[User]:
        people: UserQuerySet = queryset  # type: ignore[assignment]  # the manager's own class
        match self.value():
            case "active":
                return people.alive().filter(active=True)
            case "deactivated":
                return people.alive().filter(active=False)
            case "deleted":
                return people.filter(deleted_at__isnull=False)
        return people
