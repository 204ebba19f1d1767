"""What a restored database does not know of backups (``findme.core.db.restored``)."""

from __future__ import annotations

from backups.models import VERIFICATIONS, Backup, BackupVerification
from findme.core.db import restored
from findme.core.db.expressions import ClockTimestamp
from findme.core.plurals import counted, plural


def name_destinations() -> str:
    """Name the destinations to be listed again. Newer backups are missing in the table, and others may have been removed."""
    names = sorted(set(Backup.objects.filter(gone_at=None).values_list("destination", flat=True)))
    if not names:
        return "The table of backups is empty: run manage.py list_backups for each destination."
    return f"Run manage.py list_backups for each destination, also for newer ones: {', '.join(names)}."


def end_verifications() -> str:
    """End the deep verifications that ran at the time of the backup. An unfinished one counts as a copy of erased users."""
    ended = BackupVerification.objects.filter(finished_at=None).update(
        finished_at=ClockTimestamp(), error="The database was restored meanwhile."
    )
    return f"{counted(ended, 'deep verification')} {plural(ended, 'was', 'were')} ended." if ended else ""


restored.register(restored.BACKUPS, name_destinations)
restored.register(VERIFICATIONS, end_verifications)
