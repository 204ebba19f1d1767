"""What privacy needs to know about backups: how far back they reach. Their tables have no personal data."""

from __future__ import annotations

from datetime import datetime

from django.db.models import Min

from backups.models import Backup
from privacy.registry import registry


def oldest_backup() -> datetime | None:
    """Return the time of the oldest data in a backup that existed when its destination was last read. Damaged ones count too."""
    found: datetime | None = Backup.objects.filter(gone_at__isnull=True).aggregate(oldest=Min("taken_at"))["oldest"]
    return found


registry.register_copies(oldest_backup)
