"""Read-only lists of the backups and of the deep verifications. The first one also serves the status page."""

from __future__ import annotations

from typing import Any, TypeVar

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils.text import Truncator

from backups.admin.status_page import status_page
from backups.models import Backup, BackupVerification
from findme.core.admin.links import labeled
from findme.core.admin.model_admin import FindmeModelAdmin

M = TypeVar("M", bound=Model)
RESULTS = {"proven": "success", "failed": "danger", "running": "info"}
LONGEST_ERROR = 120
"""Characters of an error in the list. The page of the run has all of it."""


class _ReadOnlyAdmin(FindmeModelAdmin[M]):
    declared_permissions = ("view",)
    sortable_by = ()
    ordering = ("-pk",)  # as they were written

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Backup)
class BackupAdmin(_ReadOnlyAdmin[Backup]):
    list_display = ("name", "destination", "taken_at", "is_complete", "is_encrypted", "size", "gone_at")
    fields = ("name", "destination", "database", "taken_at", "ended_at", "is_complete", "is_encrypted", "size", "seen_at", "gone_at")

    def get_urls(self) -> list[URLPattern]:
        return [path("status/", self.admin_site.admin_view(self.status_view), name="backups_backup_status"), *super().get_urls()]

    def status_view(self, request: HttpRequest) -> HttpResponse:
        return status_page(request, self)


@admin.register(BackupVerification)
class BackupVerificationAdmin(_ReadOnlyAdmin[BackupVerification]):
    list_display = ("name", "shown_result", "destination", "started_at", "restore_seconds", "shown_error")
    fields = (
        *("name", "destination", "database", "taken_at", "is_complete", "started_at", "finished_at", "seconds", "restore_seconds"),
        *("compared", "error"),
    )

    @labeled("Result", RESULTS)
    def shown_result(self, run: BackupVerification) -> str:
        return "running" if run.finished_at is None else "failed" if run.error else "proven"

    @admin.display(description="Error")
    def shown_error(self, run: BackupVerification) -> str:
        return Truncator(run.error).chars(LONGEST_ERROR)
