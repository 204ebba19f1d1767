"""Refuse a database that a version before the first release created.

Its migrations have the same numbers, but other tables and columns. No migration leads from there to the current schema.
"""

from __future__ import annotations

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

from findme.core.errors import UserFacingError

EARLIER_LABEL = "findme"
"""The app of the migration that is now ``migrator.0001_schema_version``."""

EARLIER_TABLE = "vector_sync_aside"
"""The table that is now ``vector_sync_quarantine``."""

EARLIER_COLUMN = ("matches", "lower_user_id")
"""A generated column. An index on an expression has replaced it."""


def require_current_names(connection: BaseDatabaseWrapper) -> None:
    """Raise UserFacingError if the database has the names of an earlier version. Reads only."""
    with connection.cursor() as cursor:
        found = _earlier_name(cursor)
        if found is None:
            return
        cursor.execute("SELECT current_database()")
        (name,) = cursor.fetchone()
    is_embedded = connection.settings_dict["ENGINE"] == "findme.embedded.backend"
    another = "EMBEDDED_POSTGRES_DIR to a new folder" if is_embedded else "DATABASE_URL to an empty database"
    raise UserFacingError(
        f"The database {name!r} was created by an earlier version (it has {found}): nothing was changed. Set {another}, then run manage.py migrate."
    )


def _earlier_name(cursor: CursorWrapper) -> str | None:
    cursor.execute(
        """
        SELECT to_regclass(%s) IS NOT NULL,
               EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = %s AND attgenerated = 's'),
               coalesce(has_table_privilege(to_regclass('django_migrations'), 'SELECT'), false)
        """,
        [EARLIER_TABLE, *EARLIER_COLUMN],
    )
    has_table, has_column, may_read_migrations = cursor.fetchone()
    if has_table:
        return f"the table {EARLIER_TABLE!r}"
    if has_column:
        return f"the column {'.'.join(EARLIER_COLUMN)!r}"
    if may_read_migrations:
        cursor.execute("SELECT EXISTS (SELECT FROM django_migrations WHERE app = %s)", [EARLIER_LABEL])
        if cursor.fetchone()[0]:
            return f"migrations of the app {EARLIER_LABEL!r}"
    return None
