"""Removal of exports: after their download, after their end, before an erasure, and what a killed process has left."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from privacy.audit import Action, record
from privacy.kept_exports.folder import delete_file, stored_ids
from privacy.models import KeptExport

MOST_HOURS = 24
"""How long an export can take to be made. After it, the process that made it counts as killed."""
BATCH = 100


def remove_exports_of(user_id: UUID) -> int:
    """Delete the files of the user's exports, then their rows. Return the number of files.

    A file that is being written now is deleted by its writer, which finds no row. Killed in between, a further call completes the removal. Raise
    StoreUnavailable, and then delete no row.
    """
    exports = KeptExport.objects.filter(user_id=user_id)
    deleted = sum(delete_file(export_id) for export_id in exports.filter(deleted_at__isnull=True).values_list("pk", flat=True))
    exports.delete()
    return deleted


def remove_finished_exports() -> int:
    """Delete a batch of files that were downloaded or have expired, or whose process was killed. Return their number.

    A row that another transaction has locked is skipped: it is being downloaded.
    """
    with transaction.atomic():
        rows = _finished().order_by("created_at").select_for_update(skip_locked=True)[:BATCH]
        for export in rows:
            mark_deleted(export)
    return len(rows)


def mark_deleted(export: KeptExport) -> None:
    """Delete the file of an export, and record it, unless another process has done that or the row is gone."""
    delete_file(export.pk)
    if KeptExport.objects.filter(pk=export.pk, deleted_at__isnull=True).update(deleted_at=Now()):
        record(Action.DELETE_EXPORT, export.user_id, actor_id=None)


def remove_files_without_row() -> int:
    """Delete the files that no row needs, for example after a restore of the database. Return their number."""
    if not settings.EXPORTS_DIR or not Path(settings.EXPORTS_DIR).is_dir():
        return 0
    found = list(stored_ids())
    needed = set(KeptExport.objects.filter(pk__in=found, deleted_at__isnull=True).values_list("pk", flat=True))
    return sum(delete_file(export_id) for export_id in found if export_id not in needed)


def _finished() -> QuerySet[KeptExport]:
    is_over = (
        Q(downloaded_at__isnull=False)
        | Q(expires_at__lte=Now())
        | Q(size__isnull=True, created_at__lte=Now() - timedelta(hours=MOST_HOURS))
    )
    return KeptExport.objects.filter(is_over, deleted_at__isnull=True)
