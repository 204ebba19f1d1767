"""The audit log as a list. It includes entries about deleted users."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from findme.core.admin.links import labeled
from findme.core.admin.model_admin import UuidSearchAdmin
from privacy.models import AuditEntry

COLORS = {"started": "info", "done": "success", "failed": "danger", "unknown": "warning"}


@admin.register(AuditEntry)
class AuditEntryAdmin(UuidSearchAdmin[AuditEntry]):
    """Read-only list of the entries of the privacy actions, steps of requests, retries and adoptions."""

    declared_permissions = ("view",)
    list_display = ("recorded_at", "actor", "action", "target", "shown_outcome")
    list_filter = ("action", "outcome")
    sortable_by = ()
    ordering = ("-pk",)  # as they were written
    search_help_text = "UUID of the staff member, of the user or of the request"
    uuid_lookups = ("actor_id", "target_id", "request_id")
    fields = ("recorded_at", "actor", "action", "target", "request_id", "informed_on", "outcome")

    @admin.display(description="By")
    def actor(self, entry: AuditEntry) -> str:
        return str(entry.actor_id) if entry.actor_id else f"{entry.actor_account} (command)"

    @admin.display(description="Of")
    def target(self, entry: AuditEntry) -> str:
        if entry.target_id:
            return str(entry.target_id)
        return f"request {entry.request_id}" if entry.request_id else entry.collection

    @labeled("Outcome", COLORS)
    def shown_outcome(self, entry: AuditEntry) -> tuple[str, str]:
        return entry.outcome, entry.get_outcome_display()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
