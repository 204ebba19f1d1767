"""Fill a scratch database from a backup, and prove that it has what was backed up."""

from __future__ import annotations

from pathlib import Path

from django.db.backends.base.base import BaseDatabaseWrapper

from backups.contents import require_equal_digests
from backups.manifest import PostgresqlPart
from backups.postgresql.cluster import DatabaseDescription, describe_database, missing_roles
from backups.postgresql.cluster_statements import statements
from backups.postgresql.restore import restore_file
from backups.postgresql.tables import quoted
from findme.core.errors import UserFacingError
from findme.core.plurals import counted


def require_roles(connection: BaseDatabaseWrapper, description: DatabaseDescription) -> None:
    """Raise UserFacingError, which names them, if the server lacks roles that own or may use something in the backup."""
    if missing := missing_roles(description, connection):
        create = " ".join(f"CREATE ROLE {quoted(name)};" for name in missing)
        raise UserFacingError(
            f"The server lacks {counted(len(missing), 'role')} of the backup: nothing was restored. Run as a superuser: {create}"
            " Passwords are not in a backup. Or add --no-owners, and all belongs to the role of DATABASE_URL."
        )


def fill(
    scratch: BaseDatabaseWrapper, part: PostgresqlPart, dump: Path, description: DatabaseDescription, *, jobs: int, with_owners: bool
) -> None:
    """Restore ``dump`` into the empty database of ``scratch`` by ``jobs`` sessions, and compare each table with the manifest.

    With owners, it also gets the owner, the grants and the settings of the database that was backed up. Raises UserFacingError.
    """
    restore_file(scratch, part.dump_major, dump, jobs=jobs, with_owners=with_owners)
    require_equal_digests(part, scratch)
    if with_owners:
        with scratch.cursor() as cursor:
            for statement in statements(description, describe_database(scratch)):
                cursor.execute(statement)
