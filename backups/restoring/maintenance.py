"""The databases of a server, seen and changed from a session in another database of it.

PostgreSQL renames no database while a session is in it, so a restore works from ``postgres`` or ``template1``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from django.db import Error, OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import errors, sql

from backups.postgresql.scratch import connection_to
from backups.postgresql.tables import quoted
from findme.core.db.advisory_lock import AdvisoryLock, describe_holder
from findme.core.db.session import session_settings, without_time_limits
from findme.core.errors import UserFacingError, without_detail
from findme.core.postgresql.connection_errors import is_unavailable
from findme.core.waiting import Deadline

MAINTENANCE = ("postgres", "template1")
LOCK_KEY = int.from_bytes(b"restore", "big")
LOCK_SECONDS = 30.0
"""How long the server may take to end the last statement of a killed restore."""
END_SECONDS = 30.0
"""How long the sessions of the databases may take to end."""
LOCK_TIMEOUT = "10s"
"""How long a statement waits for another session that changes the database, or connects to it."""
SESSIONS = """
    SELECT pid, coalesce(usename, usesysid::text), coalesce(nullif(application_name, ''), 'no application_name') FROM pg_stat_activity
    WHERE datname = ANY(%s) AND usesysid IS NOT NULL AND pid <> pg_backend_pid() ORDER BY pid
"""
"""Sessions with a role. PostgreSQL itself ends the workers of autovacuum, which have none, before it renames a database."""


@dataclass(frozen=True, slots=True)
class FoundDatabase:
    oid: int
    accepts_connections: bool
    comment: str | None


@contextmanager
def maintenance_session(connection: BaseDatabaseWrapper, live_name: str, seconds: float = 0) -> Iterator[BaseDatabaseWrapper]:
    """Yield a session without time limits in a database of the server of ``connection`` that is not ``live_name``.

    Raises UserFacingError if none accepts this role. ``seconds`` is how long to try again after that, for a server that starts or has no free connection.
    """
    with (
        closing(_opened(connection, live_name, Deadline(seconds))) as session,
        without_time_limits(session),
        session_settings(session, lock_timeout=LOCK_TIMEOUT),
    ):
        yield session


@contextmanager
def exclusive(session: BaseDatabaseWrapper) -> Iterator[None]:
    """Hold the lock of restores on this server.

    The server keeps the lock of a killed restore until its last statement has ended: only then does the catalog say what the restore has done.
    """
    lock = AdvisoryLock(session, LOCK_KEY)

    def busy() -> UserFacingError:
        return UserFacingError(f"Another restore runs on this server ({describe_holder(lock)}): nothing was changed. Wait until it ends.")

    with lock.held(LOCK_SECONDS, busy):
        yield


def name_of(connection: BaseDatabaseWrapper) -> str:
    """Return the name of the database that the settings name. Connects only if a service of libpq names it."""
    if name := connection.settings_dict["NAME"]:
        return str(name)
    connection.ensure_connection()
    return str(connection.connection.info.dbname)


def system_identifier(session: BaseDatabaseWrapper) -> str:
    """Return the number that initdb gave to the server."""
    return str(rows(session, "SELECT system_identifier FROM pg_control_system()")[0][0])


def find(session: BaseDatabaseWrapper, name: str) -> FoundDatabase | None:
    found = rows(session, "SELECT oid, datallowconn, shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s", name)
    return FoundDatabase(*found[0]) if found else None


def rows(session: BaseDatabaseWrapper, query: str, *parameters: Any) -> list[Any]:
    with session.cursor() as cursor:
        cursor.execute(query, parameters or None)
        return list(cursor.fetchall())


def execute(session: BaseDatabaseWrapper, *statements: str) -> None:
    with session.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def comment_statement(name: str, comment: str | None) -> str:
    return f"COMMENT ON DATABASE {quoted(name)} IS {'NULL' if comment is None else sql.quote(comment)}"


def allow_connections(session: BaseDatabaseWrapper, name: str, allowed: bool) -> None:
    execute(session, f"ALTER DATABASE {quoted(name)} ALLOW_CONNECTIONS {str(allowed).lower()}")


def exchange(session: BaseDatabaseWrapper, names: Sequence[str], statements: Sequence[str]) -> None:
    """End all sessions in the databases ``names``, which accept no connections, and run ``statements`` in one transaction.

    Tries again while a session that had begun to connect is still in one. Raises UserFacingError if one stays.
    """
    deadline = Deadline(END_SECONDS)
    while True:
        _end_sessions(session, names, deadline)
        try:
            # The driver's own transaction: Django's would belong to another connection of the same alias.
            with session.wrap_database_errors, session.connection.transaction():
                execute(session, *statements)
        except OperationalError as error:
            if not isinstance(error.__cause__, errors.ObjectInUse | errors.LockNotAvailable):
                raise
            if deadline.is_over():
                raise UserFacingError(f"The database is still in use: {without_detail(error)}. Run the command again.") from error
        else:
            return


def _end_sessions(session: BaseDatabaseWrapper, names: Sequence[str], deadline: Deadline) -> None:
    for _ in deadline.polls():
        found = rows(session, SESSIONS, list(names))
        if not found:
            return
        for pid, role, application in found:
            try:
                rows(session, "SELECT pg_terminate_backend(%s)", pid)
            except Error as error:
                if not isinstance(error.__cause__, errors.InsufficientPrivilege):
                    raise
                raise UserFacingError(
                    f"The role of DATABASE_URL may not end the session {pid} of {role!r} ({application!r}). End it, then run the command again."
                ) from error
    pid, role, application = found[0]
    raise UserFacingError(
        f"The session {pid} of {role!r} ({application!r}) did not end within {deadline.seconds:g} s. End it, then run the command again."
    )


def _opened(connection: BaseDatabaseWrapper, live_name: str, deadline: Deadline) -> BaseDatabaseWrapper:
    names = [name for name in MAINTENANCE if name != live_name]
    found: list[OperationalError] = []
    for _ in deadline.polls():
        found.clear()
        for name in names:
            session = connection_to(connection, name)
            try:
                session.ensure_connection()
            except OperationalError as error:
                session.close()
                if not is_unavailable(error):
                    raise
                found.append(error)
            else:
                return session
    raise UserFacingError(
        f"No session in the database {' or '.join(map(repr, names))} is possible: {without_detail(found[0])}."
        " Allow this role to connect to one of them: a restore renames databases from there."
    ) from found[0]
