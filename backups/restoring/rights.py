"""What a restore needs to switch databases, found before it starts: rights, and nothing that keeps the live database in use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from django.db import OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql

from backups.postgresql.scratch import connection_to
from backups.postgresql.tables import quoted
from backups.restoring.maintenance import find, maintenance_session, rows, system_identifier
from findme.core.errors import UserFacingError
from findme.core.postgresql.connection_errors import is_unavailable
from findme.migrator.lock import require_own_session

ROLE = """
    SELECT current_user, rolsuper, rolsuper OR rolcreatedb, pg_is_in_recovery() FROM pg_roles WHERE rolname = current_user
"""
REACHED = """
    SELECT datname, oid, (SELECT system_identifier::text FROM pg_control_system()) FROM pg_database WHERE datname = current_database()
"""
OWNER = "SELECT pg_get_userbyid(datdba), pg_has_role(datdba, 'USAGE') FROM pg_database WHERE datname = %s"
MAY_GIVE = "SELECT pg_has_role(oid, 'USAGE') FROM pg_roles WHERE rolname = %s"
PREPARED = "SELECT gid FROM pg_prepared_xacts WHERE database = %s ORDER BY prepared"
SLOTS = "SELECT slot_name FROM pg_replication_slots WHERE database = %s ORDER BY slot_name"
SUBSCRIPTIONS = """
    SELECT subname FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = %s) ORDER BY subname
"""
# PostgreSQL's own rule. A session may end those of its roles. A superuser's session needs a superuser.
FOREIGN_SESSIONS = """
    SELECT a.pid, coalesce(r.rolname, a.usesysid::text), coalesce(r.rolsuper, true) FROM pg_stat_activity a LEFT JOIN pg_roles r ON r.oid = a.usesysid
    WHERE a.datname = %s AND a.usesysid IS NOT NULL AND a.pid <> pg_backend_pid()
    AND (coalesce(r.rolsuper, true) OR NOT (pg_has_role(r.oid, 'USAGE') OR pg_has_role('pg_signal_backend', 'USAGE'))) ORDER BY 3, 1
"""


def require_rights(connection: BaseDatabaseWrapper, live_name: str, owner: str | None = None) -> None:
    """Raise UserFacingError, with the statement to type, unless a restore can switch the database ``live_name``, which may not exist.

    ``owner`` is the owner that the restored database shall have. A pooler that shares sessions is refused too.
    """
    with maintenance_session(connection, live_name) as session:
        require_own_session(session)
        _require_same_server(connection, session, live_name)
        for problem in problems(session, live_name, owner):
            raise UserFacingError(problem)


def _require_same_server(connection: BaseDatabaseWrapper, session: BaseDatabaseWrapper, live_name: str) -> None:
    """Raise UserFacingError if a pooler leads to a database of another name, or to another server, than those of the maintenance session.

    A database that accepts no session cannot be compared: it may be the reason for the restore.
    """
    try:
        with closing(connection_to(connection, live_name)) as live:
            [reached] = rows(live, REACHED)
    except OperationalError as error:
        if not is_unavailable(error):
            raise
        return
    found = find(session, live_name)
    if reached != (live_name, None if found is None else found.oid, system_identifier(session)):
        raise UserFacingError(
            f"DATABASE_URL names the database {live_name!r}, and a pooler leads to {reached[0]!r} or to another server: nothing was restored."
            " Connect DATABASE_URL directly to PostgreSQL."
        )


def problems(session: BaseDatabaseWrapper, live_name: str, owner: str | None = None) -> Iterator[str]:
    """Yield each reason why ``live_name`` cannot be switched, as a line with what to type."""
    [(role, is_superuser, may_create, is_standby)] = rows(session, ROLE)
    if is_standby:
        yield "The server of DATABASE_URL is a standby: nothing was restored. Set DATABASE_URL to the primary."
    if not may_create:
        yield f"The role {role!r} may not create databases: nothing was restored. Run as a superuser: ALTER ROLE {quoted(role)} CREATEDB;"
    for current_owner, is_owner in rows(session, OWNER, live_name):
        if not is_owner:
            yield (
                f"The role {role!r} does not own the database {live_name!r}: nothing was restored."
                f" Run as a superuser: GRANT {quoted(current_owner)} TO {quoted(role)};"
            )
    if owner is not None and (False,) in rows(session, MAY_GIVE, owner):
        yield (
            f"The role {role!r} may not give a database to {owner!r}, its owner in the backup: nothing was restored."
            f" Run as a superuser: GRANT {quoted(owner)} TO {quoted(role)};"
        )
    yield from in_use(session, live_name)
    if not is_superuser:
        yield from _foreign_sessions(session, live_name, role)


def in_use(session: BaseDatabaseWrapper, live_name: str) -> Iterator[str]:
    """Yield what no end of a session removes: it prevents the switch, or would stay with the old database."""
    begin = f"The database {live_name!r} has a"
    for (gid,) in rows(session, PREPARED, live_name):
        yield f"{begin} prepared transaction {gid!r}: nothing was restored. Run in it: ROLLBACK PREPARED {sql.quote(gid)}; (or COMMIT PREPARED)"
    for (name,) in rows(session, SLOTS, live_name):
        yield f"{begin} logical replication slot {name!r}: nothing was restored. Run: SELECT pg_drop_replication_slot('{name}');"
    for (name,) in rows(session, SUBSCRIPTIONS, live_name):
        yield f"{begin} subscription {name!r}: nothing was restored. Run in it: DROP SUBSCRIPTION {quoted(name)};"


def _foreign_sessions(session: BaseDatabaseWrapper, live_name: str, role: str) -> Iterator[str]:
    for pid, owner, needs_superuser in rows(session, FOREIGN_SESSIONS, live_name):
        remedy = f"SELECT pg_terminate_backend({pid});" if needs_superuser else f"GRANT pg_signal_backend TO {quoted(role)};"
        yield f"The role {role!r} may not end the session {pid} of {owner!r}: nothing was restored. Run as a superuser: {remedy}"
