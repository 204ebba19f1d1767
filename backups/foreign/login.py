"""A role that owns the scratch database while a dump from outside runs in it, and nothing else.

A dump is a program: it creates functions and calls them. ``SET ROLE`` and ``SET SESSION AUTHORIZATION`` are no protection, since the dump can undo
them. So the dump runs in a session of a new role. The role has the name of the scratch database. If the run is killed, the next one drops both.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg
from django.db import DatabaseError, InterfaceError
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql
from psycopg.conninfo import make_conninfo

from backups.postgresql.cluster import describe_database
from backups.postgresql.cluster_statements import statements
from backups.postgresql.connection import Login, connection_parameters
from backups.postgresql.scratch import NAME, PREFIX
from backups.postgresql.tables import quoted
from findme.core.errors import UserFacingError

END_MILLISECONDS = 30_000
"""How long a session of the role may take to end."""
RIGHTS = "SELECT rolsuper, rolcreaterole FROM pg_roles WHERE rolname = current_user"
SESSIONS = "SELECT pg_terminate_backend(pid, %s) FROM pg_stat_activity WHERE usename = %s"
LEFT = """
    SELECT rolname FROM pg_roles WHERE rolname LIKE %s AND pg_has_role(oid, 'MEMBER')
    AND NOT EXISTS (SELECT FROM pg_database WHERE datname = rolname OR datdba = pg_roles.oid)
"""


@contextmanager
def unprivileged_login(scratch: BaseDatabaseWrapper) -> Iterator[Login | None]:
    """Yield the login of a new role that owns the scratch database. Afterwards all that it has made belongs to the owner before.

    Yield None for a connection whose role is no superuser and may not create roles. The dump then runs as this role.
    """
    with scratch.cursor() as cursor:
        cursor.execute(RIGHTS)
        is_superuser, may_create_roles = cursor.fetchone()
    if not (is_superuser or may_create_roles):
        yield None
        return
    drop_abandoned_roles(scratch)
    before = describe_database(scratch)
    role, database = quoted(before.name), quoted(before.name)
    password = secrets.token_hex(32)
    with scratch.cursor() as cursor:
        # The server's log has the statement, so it has no password.
        pgconn = scratch.connection.pgconn
        verifier = pgconn.encrypt_password(password.encode(), before.name.encode(), b"scram-sha-256").decode()
        cursor.execute(f"CREATE ROLE {role} LOGIN INHERIT PASSWORD {sql.quote(verifier)}")
        try:
            if not is_superuser:
                cursor.execute(f"GRANT {role} TO CURRENT_USER")
            cursor.execute(f"ALTER DATABASE {database} OWNER TO {role}")
            login = Login(before.name, password)
            _require_login(scratch, login)
            yield login
            cursor.execute(SESSIONS, [END_MILLISECONDS, before.name])
            cursor.execute(f"REASSIGN OWNED BY {role} TO {quoted(before.owner)}")
        except BaseException:
            # The error is of more use than one that follows from it. The next run drops what is left.
            with suppress(DatabaseError, InterfaceError):
                _take_back(scratch, role, before.owner)
            raise
        # The dump can have changed settings of the database, or granted it.
        for statement in statements(before, describe_database(scratch)):
            cursor.execute(statement)
        _take_back(scratch, role, before.owner)


def _require_login(scratch: BaseDatabaseWrapper, login: Login) -> None:
    """Raise UserFacingError if the server refuses the role, by its ``pg_hba.conf`` or by the client's certificate."""
    try:
        psycopg.connect(make_conninfo(**{**connection_parameters(scratch), "user": login.user, "password": login.password})).close()
    except psycopg.OperationalError as error:
        raise UserFacingError(
            f"The server refuses logins of a new role ({login.user!r}), which keeps a dump from the rights of DATABASE_URL: nothing was restored."
            " Allow them in pg_hba.conf, or set DATABASE_URL to a role without SUPERUSER and CREATEROLE."
        ) from error


def drop_abandoned_roles(connection: BaseDatabaseWrapper) -> list[str]:
    """Drop the roles whose scratch database is gone, and return their names."""
    with connection.cursor() as cursor:
        cursor.execute(LEFT, [f"{PREFIX}%"])
        names = [name for (name,) in cursor.fetchall() if NAME.fullmatch(name)]
        for name in names:
            cursor.execute(f"DROP ROLE IF EXISTS {quoted(name)}")
    return names


def _take_back(scratch: BaseDatabaseWrapper, role: str, owner: str) -> None:
    """Give the database back to its owner, drop what the role has left in it, and drop the role."""
    with scratch.cursor() as cursor:
        cursor.execute(SESSIONS, [END_MILLISECONDS, scratch.settings_dict["NAME"]])
        cursor.execute(f"ALTER DATABASE {quoted(scratch.settings_dict['NAME'])} OWNER TO {quoted(owner)}")
        cursor.execute(f"DROP OWNED BY {role} CASCADE")
        cursor.execute(f"DROP ROLE {role}")
