"""Holds as a list, a page to set one, and an action to release them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from findme.core.admin.db_errors import DatabaseErrorForm
from findme.core.admin.links import labeled
from findme.core.admin.model_admin import UuidSearchAdmin
from findme.core.errors import UserFacingError, one_line
from privacy.actions.holds import release, set_hold
from privacy.models import Hold
from privacy.users import user_exists

HANDLE = "privacy.handle_holds"
COLORS = {"active": "warning", "ended": "success", "released": "success"}


def earliest_today() -> date:
    """Return the first day that is not over in every time zone, as ``EarliestToday`` does."""
    return (datetime.now(UTC) - timedelta(hours=12)).date()


class HoldForm(DatabaseErrorForm):
    def clean_user_id(self) -> UUID:
        user_id: UUID = self.cleaned_data["user_id"]
        if not user_exists(user_id):
            raise forms.ValidationError("No user has this UUID.")
        return user_id

    def clean_until(self) -> date | None:
        until: date | None = self.cleaned_data["until"]
        if until is not None and until < earliest_today():
            raise forms.ValidationError("This day is in the past.")
        return until


@admin.action(permissions=["handle_holds"], description="Release")
def release_selected(_model_admin: Any, request: HttpRequest, holds: QuerySet[Hold]) -> None:
    released = []
    for hold_id in holds.order_by("pk").values_list("pk", flat=True):
        try:
            released.append(str(release(hold_id, actor_id=request.user.pk).pk))
        except UserFacingError as error:
            messages.error(request, one_line(error))
    if released:
        messages.success(request, f"Released: {', '.join(released)}. manage.py process_requests completes what they have delayed.")


@admin.register(Hold)
class HoldAdmin(UuidSearchAdmin[Hold]):
    """A hold is set on the page of a new row, and released in the list. Nothing else of it changes."""

    form = HoldForm
    declared_permissions = ("view",)
    list_display = ("pk", "user_id", "section", "article", "until", "shown_state")
    list_filter = ("section", "article")
    sortable_by = ()
    ordering = ("-pk",)
    search_help_text = "UUID of the user"
    uuid_lookups = ("user_id",)
    actions = (release_selected,)

    @labeled("State", COLORS)
    def shown_state(self, hold: Hold) -> tuple[str, str]:
        if hold.released_at is not None:
            return "released", "Released"
        is_over = hold.until is not None and hold.until < earliest_today()
        return ("ended", "Ended") if is_over else ("active", "Active")

    @admin.display(description="Set by")
    def setter(self, hold: Hold) -> str:
        return str(hold.set_by_id) if hold.set_by_id else f"{hold.set_by_account} (command)"

    @admin.display(description="Released by")
    def releaser(self, hold: Hold) -> str:
        if hold.released_at is None:
            return "-"
        return str(hold.released_by_id) if hold.released_by_id else f"{hold.released_by_account} (command)"

    def get_fieldsets(self, request: HttpRequest, obj: Hold | None = None) -> Any:
        written = ("set_at", "setter", "shown_state", "released_at", "releaser") if obj is not None else ()
        return ((None, {"fields": ("user_id", "section", "article", "until", *written)}),)

    def save_model(self, request: HttpRequest, obj: Hold, form: Any, change: bool) -> None:
        set_hold(obj, actor_id=request.user.pk)

    def has_handle_holds_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm(HANDLE))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.has_handle_holds_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
