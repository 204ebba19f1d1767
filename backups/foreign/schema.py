"""Whose tables a restored database has: FindMe's, those of the migration guide, or others."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.loader import MigrationLoader

from findme.core.errors import UserFacingError
from findme.migrator.baseline.guard import is_unfinished
from findme.migrator.earlier_schema import require_current_names
from findme.migrator.version import files_of

RECORDS = "django_migrations"
GUIDE_COLUMNS = {"id", "email", "password_hash", "full_name", "date_of_birth", "gender", "verified", "active", "deleted_at"}
"""Columns of ``users`` in the guide. ``baseline --plan`` compares everything."""
OWN_COLUMN = "is_staff"
COLUMNS = "SELECT attname::text FROM pg_attribute WHERE attrelid = to_regclass('users') AND attnum > 0 AND NOT attisdropped"


class Tables(StrEnum):
    FINDME = "findme"
    GUIDE = "guide"


@dataclass(frozen=True, slots=True)
class Recognized:
    """``unapplied`` are the migrations (``app.name``) that a dump of an older release of FindMe lacks."""

    tables: Tables
    unapplied: tuple[str, ...] = ()


def recognize_tables(scratch: BaseDatabaseWrapper, name: str) -> Recognized:
    """Return whose tables the database has. Raise UserFacingError for others, and for those of a later release.

    The migrations of the database are read by SQL: Django would read those of the live database, since a copy of a connection has its alias.
    """
    require_current_names(scratch)
    files = files_of(MigrationLoader(None))
    applied = _applied(scratch)
    columns = _columns(scratch)
    if files.names.isdisjoint(applied):
        if columns >= GUIDE_COLUMNS and OWN_COLUMN not in columns:
            return Recognized(Tables.GUIDE)
        if OWN_COLUMN in columns:
            raise UserFacingError(
                f"{name!r} has the table 'users' of FindMe without {RECORDS!r}: nothing was restored. Name a dump of the whole database."
            )
        raise UserFacingError(
            f"{name!r} has neither FindMe's tables nor those of the migration guide: nothing was restored. Name another dump."
        )
    if later := sorted(applied - files.names):
        raise UserFacingError(
            f"{name!r} has migrations that this release does not have ({later[0]}): nothing was restored. Install the release that made it."
        )
    if is_unfinished(scratch):
        return Recognized(Tables.GUIDE)
    if not columns:
        raise UserFacingError(f"{name!r} has no table 'users': nothing was restored. Name a dump of the whole database.")
    return Recognized(Tables.FINDME, files.unapplied(frozenset(applied)))


def _applied(scratch: BaseDatabaseWrapper) -> set[str]:
    with scratch.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [RECORDS])
        if not cursor.fetchone()[0]:
            return set()
        cursor.execute("SELECT app || '.' || name FROM django_migrations")
        return {name for (name,) in cursor.fetchall()}


def _columns(scratch: BaseDatabaseWrapper) -> set[str]:
    with scratch.cursor() as cursor:
        cursor.execute(COLUMNS)
        return {name for (name,) in cursor.fetchall()}
