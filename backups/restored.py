"""What a restored database does not know of backups (``findme.core.db.restored``)."""

from __future__ import annotations

from backups.models import Backup
from findme.core.db import restored


def name_destinations() -> str:
    """Name the destinations to be listed again. Newer backups are missing in the table, and others may have been removed."""
    names = sorted(set(Backup.objects.filter(gone_at=None).values_list("destination", flat=True)))
    if not names:
        return "The table of backups is empty: run manage.py list_backups for each destination."
    return f"Run manage.py list_backups for each destination, also for newer ones: {', '.join(names)}."


restored.register(restored.BACKUPS, name_destinations)
