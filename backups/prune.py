"""Remove old backups, and what runs that were ended have left."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.db import connection

from backups.create import remove_unfinished
from backups.destinations.destination import Destination
from backups.listing import Listed, list_recorded
from backups.lock import backup_lock
from backups.models import BackupVerification
from backups.postgres import database_of
from backups.retention import Keep, kept
from privacy.ledger.signing import verifying_keys

UNFINISHED = timedelta(days=1)
"""A file without its end, or an upload, that another machine may still write to is younger."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """``removed`` and ``kept`` are good backups, the newest first. ``skipped`` have a problem or no manifest: they are not touched."""

    removed: tuple[Listed, ...]
    kept: tuple[Listed, ...]
    skipped: tuple[Listed, ...]


def prune_backups(destination: Destination, keep: Keep, *, dry_run: bool) -> Pruned:
    """Remove the backups that ``keep`` does not keep, the oldest first. With ``dry_run``, change nothing in the destination.

    Raise UserFacingError and StoreUnavailable. A run that is ended has removed some of them, and the next one removes the others.
    """
    with backup_lock("prune"):
        if not dry_run:
            remove_unfinished(destination, database_of(connection))
            destination.remove_unfinished(UNFINISHED)
        found = list_recorded(destination, verifying_keys())
        stay = kept((one.manifest for one in found if one.manifest is not None and one.is_good), keep) | _being_verified(destination)
        good = [one for one in found if one.is_good]
        pruned = Pruned(
            removed=tuple(one for one in good if one.name not in stay),
            kept=tuple(one for one in good if one.name in stay),
            skipped=tuple(one for one in found if not one.is_good),
        )
        if not dry_run:
            for one in reversed(pruned.removed):
                destination.delete(one.name)
            list_recorded(destination, verifying_keys())
    return pruned


def _being_verified(destination: Destination) -> frozenset[str]:
    """Return the names of the backups that a deep verification reads now. One that was killed counts until the next one ends its row."""
    rows = BackupVerification.objects.filter(destination=destination.name, finished_at__isnull=True)
    return frozenset(rows.values_list("name", flat=True))
