"""How old the last good backup is, and the last one that was proven by restoring it. Read from PostgreSQL only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection

from backups.models import Backup, BackupVerification
from backups.postgres import database_of

MAX_AGE, MAX_DRILL_AGE = timedelta(hours=26), timedelta(days=35)


@dataclass(frozen=True, slots=True)
class LastBackup:
    """The newest good backup. ``age_seconds`` is the recovery point: a restore loses the changes of that time."""

    destination: str
    name: str
    taken_at: datetime
    seen_at: datetime
    age_seconds: float


@dataclass(frozen=True, slots=True)
class LastProof:
    """The last proven backup. ``restore_seconds`` is the recovery time. ``age_seconds`` is the time since the proof."""

    destination: str
    name: str
    taken_at: datetime
    finished_at: datetime
    age_seconds: float
    restore_seconds: float


@dataclass(frozen=True, slots=True)
class FailedProof:
    destination: str
    name: str
    finished_at: datetime
    error: str


@dataclass(frozen=True, slots=True)
class BackupStatus:
    """``failed`` is the last run, if it has failed. ``problems`` say what is missing or too old."""

    backup: LastBackup | None
    proof: LastProof | None
    failed: FailedProof | None
    problems: tuple[str, ...]


def backup_status(max_age: timedelta = MAX_AGE, max_drill_age: timedelta = MAX_DRILL_AGE) -> BackupStatus:
    """Return the status of this database's backups.

    A good backup is complete, and its destination had it when it was last read. A proven one is complete, and a deep verification of it ended
    without an error.
    """
    now = _now()
    backup, proof = _last_backup(now), _last_proof(now)
    problems = (_backup_problem(backup, max_age), _proof_problem(proof, max_drill_age))
    return BackupStatus(backup, proof, _failed(), tuple(filter(None, problems)))


def age_text(seconds: float) -> str:
    """Return an age in the largest unit of which it has at least two."""
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} seconds"


def _backup_problem(backup: LastBackup | None, longest: timedelta) -> str:
    if backup is None:
        return "There is no good backup of this database. Make one with manage.py backup."
    if backup.age_seconds <= longest.total_seconds():
        return ""
    return f"The last good backup is {_too_old(backup.age_seconds, longest)}. Run manage.py backup."


def _proof_problem(proof: LastProof | None, longest: timedelta) -> str:
    if proof is None:
        return "No backup of this database was proven by restoring it. Run manage.py restore_drill."
    if proof.age_seconds <= longest.total_seconds():
        return ""
    return f"The last proof of a backup is {_too_old(proof.age_seconds, longest)}. Run manage.py restore_drill."


def _too_old(seconds: float, longest: timedelta) -> str:
    return f"{age_text(seconds)} old, and at most {age_text(longest.total_seconds())} are allowed"


def _last_backup(now: datetime) -> LastBackup | None:
    row = Backup.objects.filter(database=_identity(), is_complete=True, gone_at__isnull=True).order_by("-taken_at").first()
    if row is None:
        return None
    return LastBackup(row.destination, row.name, row.taken_at, row.seen_at, _age(now, row.taken_at))


def _last_proof(now: datetime) -> LastProof | None:
    runs = BackupVerification.objects.filter(database=_identity(), is_complete=True, error="", finished_at__isnull=False)
    row = runs.order_by("-finished_at").first()
    if row is None or row.finished_at is None:
        return None
    return LastProof(row.destination, row.name, row.taken_at, row.finished_at, _age(now, row.finished_at), row.restore_seconds or 0.0)


def _failed() -> FailedProof | None:
    row = BackupVerification.objects.filter(database=_identity(), finished_at__isnull=False).order_by("-finished_at").first()
    if row is None or row.finished_at is None or not row.error:
        return None
    return FailedProof(row.destination, row.name, row.finished_at, row.error)


def _age(now: datetime, time: datetime) -> float:
    """Return the seconds since ``time``. Clocks of two machines differ a little."""
    return max(round((now - time).total_seconds(), 1), 0.0)


def _identity() -> str:
    return database_of(connection).identity


def _now() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
        return now
