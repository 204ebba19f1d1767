"""Django's admin log as a list: rows that were added or changed, and by which user."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.http import HttpRequest

from findme.core.admin.model_admin import UuidSearchAdmin


@admin.register(LogEntry)
class LogEntryAdmin(UuidSearchAdmin[LogEntry]):
    """List of log entries. The admin writes them, and no user can change them."""

    declared_permissions = ("view",)
    list_display = ("action_time", "user_id", "action_flag", "content_type", "object_id", "shown_message")
    list_select_related = ("content_type",)
    list_filter = ("action_flag",)
    sortable_by = ()
    ordering = ("-pk",)  # as they were written
    search_help_text = "UUID of the user who made the change, or of the changed row"
    uuid_lookups = ("user", "object_id")
    fields = ("action_time", "user", "action_flag", "content_type", "object_id", "shown_message")

    @admin.display(description="What")
    def shown_message(self, entry: LogEntry) -> str:
        return entry.get_change_message()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
