"""The rows of deep verifications (table ``backup_verifications``)."""

from __future__ import annotations

from dataclasses import asdict
from time import monotonic
from typing import TYPE_CHECKING

from django.db import DatabaseError, connection

from backups.destinations.destination import Destination
from backups.manifest import Manifest
from backups.models import BackupVerification
from backups.postgresql.processes import without_values
from findme.core.commands.explanations import explain_error
from findme.core.db.expressions import ClockTimestamp
from findme.core.errors import UserFacingError, one_line, without_detail

if TYPE_CHECKING:
    from backups.proof.deep import Proof

KILLED = "The run was killed."
INTERRUPTED = "The run was interrupted."
NUMBERS_OF_RUN = frozenset({"restore_seconds", "seconds"})


class Run:
    """One run. ``begin`` creates its row."""

    def __init__(self, row: BackupVerification, begun: float) -> None:
        self._row, self._begun = row, begun

    @classmethod
    def begin(cls, destination: Destination, manifest: Manifest) -> Run:
        row = BackupVerification.objects.create(
            destination=destination.name,
            name=manifest.name,
            database=manifest.database.identity,
            taken_at=manifest.taken_at,
            is_complete=manifest.is_complete,
        )
        return cls(row, monotonic())

    @property
    def seconds(self) -> float:
        """Return the time since the run began."""
        return monotonic() - self._begun

    def end(self, proof: Proof) -> None:
        compared = {name: value for name, value in asdict(proof).items() if name not in NUMBERS_OF_RUN}
        self._end(restore_seconds=proof.restore_seconds, seconds=proof.seconds, compared=compared)

    def fail(self, error: BaseException) -> None:
        """Record the error. It has no row and no password."""
        self._end(seconds=self.seconds, error=error_text(error))

    def _end(self, **values: object) -> None:
        # PostgreSQL may have ended the idle session in the meantime.
        if not connection.in_atomic_block:
            connection.close()
        BackupVerification.objects.filter(pk=self._row.pk).update(finished_at=ClockTimestamp(), **values)


def end_killed_runs() -> int:
    """End the rows of runs that were killed, and return how many. The caller holds the lock that a run holds."""
    return BackupVerification.objects.filter(finished_at__isnull=True).update(finished_at=ClockTimestamp(), error=KILLED)


def error_text(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, DatabaseError):
        return without_values(without_detail(error))
    return one_line(error) if isinstance(error, UserFacingError) else explain_error(error) or type(error).__name__
