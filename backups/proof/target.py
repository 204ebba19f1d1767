"""Where a backup is restored to be proven: never into the live database."""

from __future__ import annotations

from django.db.backends.base.base import BaseDatabaseWrapper

from backups.manifest import Database
from backups.postgres import database_of
from backups.postgresql.cluster import DatabaseDescription
from backups.postgresql.tables import dumped_tables
from findme.core.errors import UserFacingError

MEMBER = "SELECT rolsuper OR NOT EXISTS (SELECT FROM unnest(%s::text[]) AS name WHERE NOT pg_has_role(name, %s)) FROM pg_roles WHERE rolname = current_user"


def require_scratch(live: BaseDatabaseWrapper, scratch: BaseDatabaseWrapper) -> Database:
    """Return the database that ``scratch`` is connected to. Raise UserFacingError unless it is the new, empty database of that name.

    Names prove nothing: a pooler can lead every name to the live database. The server's identity and the oid of the database do.
    """
    name = scratch.settings_dict["NAME"]
    served, found = database_of(live), database_of(scratch)
    with live.cursor() as cursor:
        cursor.execute("SELECT oid FROM pg_database WHERE datname = %s", [name])
        created = cursor.fetchone()
    if (found.system_identifier, found.oid) == (served.system_identifier, served.oid):
        raise UserFacingError(
            f"The connection to the scratch database {name!r} leads to the live database {found.name!r}: nothing was restored. Let DATABASE_URL name"
            " the server itself, and not a pooler."
        )
    if found.system_identifier != served.system_identifier or created != (found.oid,) or dumped_tables(scratch):
        raise UserFacingError(
            f"The connection to the scratch database {name!r} leads to another database, {found.name!r}: nothing was restored. Let DATABASE_URL name"
            " the server itself, and not a pooler."
        )
    return found


def reason_without_owners(connection: BaseDatabaseWrapper, description: DatabaseDescription, missing: list[str]) -> str:
    """Return why owners and grants cannot be restored on this server, empty if they can."""
    if missing:
        return f"the server does not have the roles {', '.join(missing)}"
    roles = [description.owner, *(role.name for role in description.roles)]
    connection.ensure_connection()
    with connection.cursor() as cursor:
        cursor.execute(MEMBER, [roles, "SET" if connection.connection.info.server_version >= 160_000 else "MEMBER"])
        (may,) = cursor.fetchone()
    return "" if may else "the role of DATABASE_URL is not a member of all roles of the backup"
