"""What privacy needs to know about backups and replaced databases: how far back they reach. Their tables have no personal data."""

from __future__ import annotations

from datetime import datetime

from django.db import connection
from django.db.models import Min

from backups.models import Backup, BackupVerification
from backups.restoring.old_databases import oldest_replaced
from privacy.registry import registry


def oldest_backup() -> datetime | None:
    """Return the time of the oldest data in a backup that existed when its destination was last read. Damaged ones count too."""
    found: datetime | None = Backup.objects.filter(gone_at__isnull=True).aggregate(oldest=Min("taken_at"))["oldest"]
    return found


def oldest_restored_apart() -> datetime | None:
    """Return the time of the oldest data that a deep verification has restored and not dropped. One that was killed leaves its scratch database."""
    found: datetime | None = BackupVerification.objects.filter(finished_at__isnull=True).aggregate(oldest=Min("taken_at"))["oldest"]
    return found


def oldest_replaced_database() -> datetime | None:
    """Return when the first of the databases was replaced that restores have left."""
    return oldest_replaced(connection)


registry.register_copies(oldest_backup)
registry.register_copies(oldest_restored_apart)
registry.register_copies(oldest_replaced_database)
