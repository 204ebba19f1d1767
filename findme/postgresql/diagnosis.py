"""Why PostgreSQL refused a statement, where the reason is a setting of the role, the database or the server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from psycopg import errors

from findme.postgresql.variables import options, variables_that_are_set

TIMEOUTS: dict[type[errors.Error], str] = {
    errors.QueryCanceled: "statement_timeout",
    errors.LockNotAvailable: "lock_timeout",
    errors.IdleInTransactionSessionTimeout: "idle_in_transaction_session_timeout",
    errors.IdleSessionTimeout: "idle_session_timeout",
    errors.TransactionTimeout: "transaction_timeout",
}
BY_USER = "user request"

# A role and a database can both have the setting: the most specific entry counts.
_SET_BY = """
    SELECT CASE WHEN setrole <> 0 THEN 'ALTER ROLE ' || quote_ident(session_user::text) ELSE '' END
        || CASE WHEN setdatabase = 0 THEN '' WHEN setrole = 0 THEN 'ALTER DATABASE ' ELSE ' IN DATABASE ' END
        || CASE WHEN setdatabase <> 0 THEN quote_ident(current_database()) ELSE '' END
    FROM pg_db_role_setting, unnest(setconfig) AS entry
    WHERE lower(split_part(entry, '=', 1)) = lower(%s)
    AND setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
    AND setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = session_user))
    ORDER BY setrole <> 0 DESC, setdatabase <> 0 DESC LIMIT 1
"""
_SCHEMA = """
    SELECT quote_ident(nspname) FROM pg_namespace s WHERE to_regclass('users') IS NULL
    AND 2 = (SELECT count(*) FROM pg_class WHERE relnamespace = s.oid AND relname IN ('users', 'django_migrations') AND relkind IN ('r', 'p'))
    ORDER BY oid LIMIT 1
"""


def why_refused(error: BaseException) -> str | None:
    """Return the setting that made PostgreSQL raise the Django error ``error``, with the next step; None if no setting explains it.

    Asks the server over a connection of its own: after an error the one that failed may be of no use.
    """
    cause = error.__cause__
    try:
        if isinstance(cause, errors.ReadOnlySqlTransaction):
            with _asking() as cursor:
                return _why_read_only(cursor)
        if isinstance(cause, errors.UndefinedTable | errors.UndefinedColumn | errors.UndefinedFunction | errors.InvalidSchemaName):
            with _asking() as cursor:
                return wrong_search_path(cursor)
        name = next((name for kind, name in TIMEOUTS.items() if isinstance(cause, kind)), None)
        if name is not None and BY_USER not in str(cause):
            with _asking() as cursor:
                return _why_timed_out(cursor, name)
    except Error:
        return None
    return None


def variables_that_count() -> list[str]:
    """Return the names of libpq's environment variables that are set and that ``DATABASE_URL`` does not overrule."""
    if not (found := variables_that_are_set()):
        return []
    try:
        given = connections[DEFAULT_DB_ALIAS].get_connection_params()
    except (Error, ImproperlyConfigured):
        return []
    overruled = {variable for name, variable in options().items() if name in given}
    return [name for name in found if name not in overruled]


def wrong_search_path(cursor: CursorWrapper) -> str | None:
    """Return which schema has FindMe's tables if ``search_path`` does not lead to it, with the next step; None if it does, or no schema has them."""
    cursor.execute(_SCHEMA)
    found = cursor.fetchone()
    if found is None:
        return None
    return f"{_said(cursor, 'search_path')}, and the tables of FindMe are in the schema {found[0]}. {_undo(cursor, 'search_path')}"


@contextmanager
def _asking() -> Iterator[CursorWrapper]:
    connection: BaseDatabaseWrapper = connections[DEFAULT_DB_ALIAS].copy()
    with closing(connection), connection.cursor() as cursor:
        yield cursor


def _why_read_only(cursor: CursorWrapper) -> str | None:
    cursor.execute("SELECT pg_is_in_recovery(), current_setting('default_transaction_read_only')")
    in_recovery, default = cursor.fetchone()
    if in_recovery:
        return "the server is a hot standby, which only reads. Give the address of the primary in DATABASE_URL."
    if default == "on":
        return f"{_said(cursor, 'default_transaction_read_only')}. {_undo(cursor, 'default_transaction_read_only')}"
    return None


def _why_timed_out(cursor: CursorWrapper, name: str) -> str | None:
    cursor.execute("SELECT setting FROM pg_settings WHERE name = %s", [name])
    found = cursor.fetchone()
    if found is None or found[0] == "0":
        return None
    return f"{_said(cursor, name)}. {_undo(cursor, name)}"


def _said(cursor: CursorWrapper, name: str) -> str:
    cursor.execute("SELECT current_setting(%s)", [name])
    return f"{name} is {cursor.fetchone()[0]!r}"


def _undo(cursor: CursorWrapper, name: str) -> str:
    cursor.execute("SELECT source FROM pg_settings WHERE lower(name) = lower(%s)", [name])
    source = cursor.fetchone()
    if source is not None and source[0] == "client":
        return "It is set in DATABASE_URL (options=) or in PGOPTIONS: correct it there."
    cursor.execute(_SET_BY, [name])
    set_by = cursor.fetchone()
    if set_by is None:
        return "It is set by the configuration of the server: correct it there, or for the role in DATABASE_URL with ALTER ROLE."
    return f"To undo it: {set_by[0]} RESET {name}; or use another role in DATABASE_URL."
