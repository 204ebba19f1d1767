"""Whether every constraint of a restored database holds."""

from __future__ import annotations

from django.db import DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper

from backups.postgresql.tables import quoted
from findme.core.errors import UserFacingError, without_detail

# PostgreSQL checks a constraint while it is restored, unless the dump says NOT VALID.
NOT_VALIDATED = """
    SELECT n.nspname, t.relname, c.conname FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid JOIN pg_namespace n ON n.oid = t.relnamespace
    WHERE NOT c.convalidated ORDER BY n.nspname, t.relname, c.conname
"""
COUNT = "SELECT count(*) FROM pg_constraint c JOIN pg_namespace n ON n.oid = c.connamespace WHERE n.nspname <> 'information_schema'"


def validate_constraints(connection: BaseDatabaseWrapper) -> tuple[int, list[str]]:
    """Validate the constraints that were never validated. Return the number of all constraints, and the names of these.

    Raise UserFacingError, in PostgreSQL's words and without the row, for a constraint that does not hold.
    """
    with connection.cursor() as cursor:
        cursor.execute(NOT_VALIDATED)
        found = cursor.fetchall()
        for schema, table, name in found:
            try:
                cursor.execute(f"ALTER TABLE {quoted(schema)}.{quoted(table)} VALIDATE CONSTRAINT {quoted(name)}")
            except DatabaseError as error:
                raise UserFacingError(
                    f"The constraint {name!r} of {table!r} is NOT VALID, and its rows violate it: {without_detail(error)}."
                    " Correct the rows in the live database, validate the constraint, then make another backup."
                ) from error
        cursor.execute(COUNT)
        return int(cursor.fetchone()[0]), [name for _, _, name in found]
