"""Restore a dump that FindMe did not make into an empty scratch database."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from django.db.backends.base.base import BaseDatabaseWrapper

from backups.foreign.custom import restore_custom
from backups.foreign.detect import DumpFile, Kind, detect, opened, size_of
from backups.foreign.login import unprivileged_login
from backups.foreign.plain import restore_plain
from backups.foreign.schema import Tables, recognize_tables
from findme.core.commands.progress import Report, ignore_progress
from findme.core.errors import UserFacingError
from findme.core.plurals import counted


@dataclass(frozen=True, slots=True)
class Found:
    """What was restored. There is no manifest, so nothing is compared with the database that was dumped.

    ``unapplied`` are the migrations (``app.name``) of FindMe that the dump lacks. ``rights_left_out`` is the number of statements of a plain dump
    about owners and privileges. A dump in the custom format does not say how many it has, then it is None.
    """

    kind: Kind
    tables: Tables
    unapplied: tuple[str, ...]
    rights_left_out: int | None

    @property
    def sentences(self) -> list[str]:
        """What the operator must know. ``restore`` converts or migrates the tables itself."""
        lines = ["The dump has no manifest, so the rows were not compared with those of the database that was dumped."]
        if self.rights_left_out != 0:
            which = "Owners and privileges" if self.rights_left_out is None else counted(self.rights_left_out, "statement")
            about = "" if self.rights_left_out is None else " about owners and privileges"
            verb = "was" if self.rights_left_out == 1 else "were"
            lines.append(f"{which}{about} {verb} left out: all belongs to the role of DATABASE_URL. Grant other roles their rights again.")
        if self.tables is Tables.GUIDE:
            lines.append("It has the tables of the migration guide, which manage.py baseline converts.")
        elif self.unapplied:
            lines.append(
                f"It is of an earlier release, which lacks {counted(len(self.unapplied), 'migration')}: manage.py migrate applies them."
            )
        return lines


def restore_foreign(scratch: BaseDatabaseWrapper, path: Path, report: Report = ignore_progress, *, jobs: int = 1) -> Found:
    """Restore the file into the empty database of ``scratch``, and return what it has.

    Raises UserFacingError for a file that is no dump of PostgreSQL, that is damaged, or that has other tables. The caller then drops the database.
    """
    return restore_dump(scratch, require_dump(path), report, jobs=jobs)


def require_dump(path: Path) -> DumpFile:
    """Return what the file is. Raise UserFacingError if it is not a dump of PostgreSQL."""
    dump = detect(path)
    if dump.kind is Kind.SNAPSHOT:
        raise UserFacingError(
            f"{str(path)!r} is a snapshot of Qdrant: nothing was restored. Run manage.py qdrant_snapshot restore {path}"
            f"{' after gunzip' if dump.is_gzip else ''}."
        )
    return dump


def restore_dump(scratch: BaseDatabaseWrapper, dump: DumpFile, report: Report = ignore_progress, *, jobs: int = 1) -> Found:
    """Restore the dump as ``restore_foreign`` does."""
    rights_left_out = None
    with unprivileged_login(scratch) as login:
        if dump.kind is Kind.PLAIN:
            with opened(dump.path, is_gzip=dump.is_gzip) as source:
                rights_left_out = restore_plain(scratch, source, size_of(dump.path), login, str(dump.path), report)
        else:
            restore_custom(scratch, dump, login, report, jobs=jobs)
    found = recognize_tables(scratch, str(dump.path))
    return Found(dump.kind, found.tables, found.unapplied, rights_left_out)
