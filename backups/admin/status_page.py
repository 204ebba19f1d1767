"""Status page of the backups: recovery point, recovery time, the last backups and the last deep verifications."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from backups.models import Backup, BackupVerification
from backups.proof.status import MAX_AGE, MAX_DRILL_AGE, age_text, backup_status
from findme.core.admin.links import can_view

SHOWN = 10
"""How many backups and runs the page shows. The lists have all."""


@never_cache
@require_safe
def status_page(request: HttpRequest, model_admin: admin.ModelAdmin[Any]) -> HttpResponse:
    """Show the status. It is read from PostgreSQL, and no destination is asked."""
    if not model_admin.has_view_permission(request):
        raise PermissionDenied
    found = backup_status(MAX_AGE, MAX_DRILL_AGE)
    may_view_runs = can_view(request, BackupVerification)
    context = {
        **model_admin.admin_site.each_context(request),
        "title": "Backups",
        "status": found,
        "recovery_point": found.backup and age_text(found.backup.age_seconds),
        "recovery_time": found.proof and age_text(found.proof.restore_seconds),
        "proof_age": found.proof and age_text(found.proof.age_seconds),
        "backups": Backup.objects.filter(gone_at__isnull=True).order_by("-taken_at")[:SHOWN],
        "backups_url": reverse("admin:backups_backup_changelist"),
        "may_view_runs": may_view_runs,
        "runs": BackupVerification.objects.order_by("-pk")[:SHOWN] if may_view_runs else (),
        "runs_url": reverse("admin:backups_backupverification_changelist"),
    }
    return TemplateResponse(request, "admin/backups/status.html", context)
