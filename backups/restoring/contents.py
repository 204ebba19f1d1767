"""Fill a scratch database from a backup, and prove that it has what was backed up."""

from __future__ import annotations

from pathlib import Path

from django.db.backends.base.base import BaseDatabaseWrapper

from backups.manifest import PostgresqlPart
from backups.postgresql.cluster import DatabaseDescription, describe_database, missing_roles
from backups.postgresql.cluster_statements import statements
from backups.postgresql.digests import table_digests
from backups.postgresql.restore import restore_file
from backups.postgresql.tables import dumped_tables, quoted
from findme.core.errors import UserFacingError
from findme.core.plurals import counted

SHOWN = 5
"""How many tables an error names."""


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
) -> int:
    """Restore ``dump`` into the empty database of ``scratch`` by ``jobs`` sessions. Return the number of rows, which are those of the manifest.

    With owners, it also gets the owner, the grants and the settings of the database that was backed up. Raises UserFacingError.
    """
    restore_file(scratch, major(part.dump_version), dump, jobs=jobs, with_owners=with_owners)
    rows = require_digests(scratch, part)
    if with_owners:
        with scratch.cursor() as cursor:
            for statement in statements(description, describe_database(scratch)):
                cursor.execute(statement)
    return rows


def require_digests(scratch: BaseDatabaseWrapper, part: PostgresqlPart) -> int:
    """Return the number of rows. Raise UserFacingError, which names the tables, if one has other rows than the manifest says."""
    found = {name: (one.rows, one.digest) for name, one in table_digests(scratch, dumped_tables(scratch)).items()}
    expected = {name: (table.rows, table.digest) for name, table in part.tables.items()}
    if different := sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name)):
        names = ", ".join(map(repr, different[:SHOWN])) + (", ..." if len(different) > SHOWN else "")
        raise UserFacingError(
            f"{counted(len(different), 'table')} of the restored database {'differs' if len(different) == 1 else 'differ'} from the manifest: {names}."
            " Use another backup."
        )
    return sum(rows for rows, _ in found.values())


def major(version: str) -> int:
    """Return the major version of a version such as ``18.6``."""
    return int(version.partition(".")[0])
