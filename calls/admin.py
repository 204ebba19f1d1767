"""Video calls in the admin."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import ValidationError
from django.utils.safestring import SafeString

from accounts.admin.restriction import refuse_restricted
from accounts.models import User
from calls.models import VideoCall
from findme.core.admin.db_errors import DatabaseErrorForm
from findme.core.admin.links import labeled, link_to
from findme.core.admin.model_admin import SYSTEM, UuidSearchAdmin

COLORS = {"initiated": "info", "ringing": "info", "active": "info", "ended": "success", "missed": "warning", "rejected": "danger"}
SYSTEM_FIELDS = ("id", "metadata", "created_at")


class VideoCallForm(DatabaseErrorForm):
    """Form for a call. Only the form for a new call has the two users. The call of a restricted user cannot be changed."""

    def clean_caller(self) -> User:
        return _require_reachable(self.cleaned_data["caller"])

    def clean_callee(self) -> User:
        return _require_reachable(self.cleaned_data["callee"])

    def clean(self) -> dict[str, Any] | None:
        if "caller" not in self.fields:
            refuse_restricted(self.instance.caller, self.instance.callee, rows="calls")
        return super().clean()


def _require_reachable(user: User) -> User:
    """An objection ends no match that exists, so its users may still call each other."""
    if user.deleted_at is not None or user.restricted_at is not None:
        raise ValidationError("This user is deleted or restricted: no new call may have the user.")
    return user


@admin.register(VideoCall)
class VideoCallAdmin(UuidSearchAdmin[VideoCall]):
    """The match, the users and the session are fixed. Staff may correct the course of the call."""

    form = VideoCallForm
    list_display = ("id", "calling_person", "called_person", "shown_status", "started_at", "duration", "quality_rating", "created_at")
    person_columns = {"calling_person": "caller_id", "called_person": "callee_id"}
    list_select_related = ("caller", "callee")
    list_filter = ("status",)
    sortable_by = ("created_at",)
    search_help_text = "UUID of a call, its match or one of its users"
    uuid_lookups = ("pk", "match", "caller", "callee")
    raw_id_fields = ("match", "caller", "callee")
    fixed_fields = ("match", "caller", "callee", "session_id")
    readonly_fields = SYSTEM_FIELDS
    fieldsets = (
        (None, {"fields": ("match", "caller", "callee", "session_id")}),
        ("Course of the call", {"fields": ("status", "started_at", "ended_at", "duration", "quality_rating", "recording_url")}),
        (SYSTEM, {"fields": SYSTEM_FIELDS}),
    )

    @admin.display(description="Caller")
    def calling_person(self, call: VideoCall) -> SafeString:
        return link_to(User, call.caller_id, call.caller.full_name)

    @admin.display(description="Callee")
    def called_person(self, call: VideoCall) -> SafeString:
        return link_to(User, call.callee_id, call.callee.full_name)

    @labeled("Status", COLORS)
    def shown_status(self, call: VideoCall) -> tuple[str, str]:
        return call.status, call.get_status_display()
