"""Refuse ``migrate`` in a database whose tables ``baseline`` must adopt first. Reads a few rows only."""

from __future__ import annotations

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.recorder import MigrationRecorder

from findme.core.errors import UserFacingError
from findme.migrator.baseline.state import read_baseline

CREATORS = {
    "users": "accounts.0001_initial",
    "videos": "videos.0001_initial",
    "matches": "matching.0001_initial",
    "video_calls": "calls.0001_initial",
}
"""The migration (``app.name``) that creates each table of the guide."""

_EXISTING = """
    SELECT name FROM unnest(%s::text[]) WITH ORDINALITY AS expected(name, position) WHERE EXISTS (
        SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = current_schema() AND relname = name AND relkind NOT IN ('i', 'I')
    ) ORDER BY position
"""


def tables_to_adopt(connection: BaseDatabaseWrapper) -> list[str]:
    """Return the tables of the guide that exist although no migration created them, or all of them while ``baseline`` must run again."""
    existing = _existing_tables(connection)
    recorded = {".".join(key) for key in MigrationRecorder(connection).applied_migrations()} if existing else set()
    return existing if is_unfinished(connection) else [name for name in existing if CREATORS[name] not in recorded]


def is_unfinished(connection: BaseDatabaseWrapper) -> bool:
    """Return whether ``baseline`` has begun to record migrations and must run again."""
    baseline = read_baseline(connection)
    return baseline is not None and baseline.completed_at is None


def require_adopted(connection: BaseDatabaseWrapper) -> None:
    """Raise UserFacingError if a migration would fail because its table exists, or if ``baseline`` must run again.

    If only some of the tables lack their record, Django reports the inconsistent history.
    """
    if is_unfinished(connection):
        raise UserFacingError(
            "The tables of the migration guide are only partly converted: nothing was applied. Run manage.py baseline again."
        )
    tables = tables_to_adopt(connection)
    if tables and tables == _existing_tables(connection):
        raise UserFacingError(
            f"The table {tables[0]!r} exists, and no migration created it: nothing was applied."
            " If it is the migration guide's, run manage.py baseline --plan, then manage.py baseline."
        )


def _existing_tables(connection: BaseDatabaseWrapper) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(_EXISTING, [list(CREATORS)])
        return [name for (name,) in cursor.fetchall()]
