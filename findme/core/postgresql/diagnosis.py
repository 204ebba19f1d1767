"""Find the setting of a role, a database or the server that made PostgreSQL reject a statement."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, Error, connections
from django.db.backends.base.base import NO_DB_ALIAS, BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from psycopg import OperationalError, errors

from findme.core.errors import UserFacingError
from findme.core.postgresql.variables import options, variables_in_environment

TIMEOUTS: dict[type[errors.Error], str] = {
    errors.QueryCanceled: "statement_timeout",
    errors.LockNotAvailable: "lock_timeout",
    errors.IdleInTransactionSessionTimeout: "idle_in_transaction_session_timeout",
    errors.IdleSessionTimeout: "idle_session_timeout",
    errors.TransactionTimeout: "transaction_timeout",
}
BY_USER = "user request"
CLOSED = "server closed the connection unexpectedly"
"""libpq's message if it reads the end of the connection together with the server's reason. It loses the reason."""
MAY_HAVE_CLOSED = ("idle_session_timeout", "idle_in_transaction_session_timeout", "transaction_timeout")
NOT_CONNECTED = ("connection failed", "connection is bad", "connection timeout")
"""psycopg's messages for a connection that failed from the start."""
NO_TIMEOUTS = "-c statement_timeout=0 -c lock_timeout=0 -c idle_session_timeout=0 -c idle_in_transaction_session_timeout=0"

# A role and a database can both have the setting. The most specific entry applies.
_SET_BY = """
    SELECT CASE WHEN setrole <> 0 THEN 'ALTER ROLE ' || quote_ident(session_user::text) ELSE '' END
        || CASE WHEN setdatabase = 0 THEN '' WHEN setrole = 0 THEN 'ALTER DATABASE ' ELSE ' IN DATABASE ' END
        || CASE WHEN setdatabase <> 0 THEN quote_ident(current_database()) ELSE '' END,
        substr(entry, strpos(entry, '=') + 1)
    FROM pg_db_role_setting, unnest(setconfig) AS entry
    WHERE lower(split_part(entry, '=', 1)) = lower(%s)
    AND setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
    AND setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = session_user))
    ORDER BY setrole <> 0 DESC, setdatabase <> 0 DESC LIMIT 1
"""
TRIGRAMS = "gin_trgm_ops"
"""The operator class of the extension pg_trgm that an index of the migrations uses."""
_TRIGRAM_SCHEMA = """
    SELECT quote_ident(nspname), quote_ident(current_user::text), current_setting('search_path'), has_schema_privilege(n.oid, 'USAGE')
    FROM pg_extension e JOIN pg_namespace n ON n.oid = extnamespace
    WHERE extname = 'pg_trgm' AND nspname <> ALL (current_schemas(true))
"""
_SCHEMA = """
    SELECT quote_ident(nspname) FROM pg_namespace s WHERE to_regclass('users') IS NULL
    AND 2 = (SELECT count(*) FROM pg_class WHERE relnamespace = s.oid AND relname IN ('users', 'django_migrations') AND relkind IN ('r', 'p'))
    ORDER BY oid LIMIT 1
"""


def refusal_reason(error: BaseException) -> str | None:
    """Return the setting that caused the Django error ``error``, with the next step, or None.

    Queries the server on a new connection, because the failed connection may be unusable.
    """
    cause = error.__cause__
    try:
        if isinstance(cause, errors.ReadOnlySqlTransaction):
            with _diagnostic_cursor() as cursor:
                return _read_only_reason(cursor)
        if isinstance(cause, errors.UndefinedObject) and TRIGRAMS in str(cause):
            with _diagnostic_cursor() as cursor:
                return ". ".join(unreachable_trigrams(cursor) or ()) or None
        if isinstance(cause, errors.UndefinedTable | errors.UndefinedColumn | errors.UndefinedFunction | errors.InvalidSchemaName):
            with _diagnostic_cursor() as cursor:
                return wrong_search_path(cursor)
        if names := _timeouts_behind(error):
            return _timeout_reason(names, is_certain=_timeout_of(error) is not None)
    except Error:
        return None
    return None


def effective_variables() -> list[str]:
    """Return the libpq environment variables that are set and not overridden by ``DATABASE_URL``."""
    if not (found := variables_in_environment()):
        return []
    try:
        given = connections[DEFAULT_DB_ALIAS].get_connection_params()
    except (Error, ImproperlyConfigured):
        return []
    overridden = {variable for name, variable in options().items() if name in given}
    return [name for name in found if name not in overridden]


def wrong_search_path(cursor: CursorWrapper) -> str | None:
    """Return the problem and the next step if ``search_path`` lacks the schema of FindMe's tables.

    Return None if ``search_path`` has the schema, or if no schema has the tables.
    """
    cursor.execute(_SCHEMA)
    found = cursor.fetchone()
    if found is None:
        return None
    return f"{_setting_text(cursor, 'search_path')}, and the tables of FindMe are in the schema {found[0]}. {_undo(cursor, 'search_path')}"


def unreachable_trigrams(cursor: CursorWrapper) -> tuple[str, str] | None:
    """Return the problem and the next step if the extension pg_trgm exists in a schema that the session does not search, or None."""
    cursor.execute(_TRIGRAM_SCHEMA)
    found = cursor.fetchone()
    if found is None:
        return None
    schema, role, path, may_use = found
    where = f"the extension pg_trgm is in the schema {schema}"
    if not may_use:
        return f"{where}, which the role {role} may not use", f"Run GRANT USAGE ON SCHEMA {schema} TO {role};"
    return f"{where}, and search_path is {path!r}", setting_advice(cursor, "search_path", f"{path}, {schema}")


def setting_advice(cursor: CursorWrapper, name: str, value: str) -> str:
    """Return how to change a setting to ``value`` where this session has it from, since a more specific place overrides the database's."""
    if _is_of_client(cursor, name):
        return f"Set it to {value} in DATABASE_URL (options=) or in PGOPTIONS, which set it now."
    cursor.execute(_SET_BY, [name])
    set_by = cursor.fetchone()
    if set_by is None:
        cursor.execute("SELECT 'ALTER DATABASE ' || quote_ident(current_database())")
        set_by = cursor.fetchone()
    return f"Run {set_by[0]} SET {name} = {value};"


def _is_of_client(cursor: CursorWrapper, name: str) -> bool:
    cursor.execute("SELECT source = 'client' FROM pg_settings WHERE lower(name) = lower(%s)", [name])
    source = cursor.fetchone()
    return source is not None and bool(source[0])


def require_search_path(connection: BaseDatabaseWrapper) -> None:
    """Raise UserFacingError if ``search_path`` lacks the schema of the tables.

    ``migrate`` would create the tables a second time. The operator chooses the name of the schema, so ``search_path`` is checked and not set.
    """
    with connection.cursor() as cursor:
        if (problem := wrong_search_path(cursor)) is not None:
            raise UserFacingError(f"PostgreSQL: {problem}")


def _timeouts_behind(error: BaseException) -> tuple[str, ...]:
    """Return the timeouts that may have caused ``error`` or ended the session."""
    if (name := _timeout_of(error)) is not None:
        return (name,)
    cause = error.__cause__
    is_closed = isinstance(cause, OperationalError) and cause.sqlstate is None and CLOSED in str(cause)
    return MAY_HAVE_CLOSED if is_closed and not str(cause).startswith(NOT_CONNECTED) else ()


def _timeout_of(error: BaseException) -> str | None:
    cause = error.__cause__
    name = next((name for kind, name in TIMEOUTS.items() if isinstance(cause, kind)), None)
    return None if BY_USER in str(cause) else name


@contextmanager
def _diagnostic_cursor(startup_options: str = "") -> Iterator[CursorWrapper]:
    # With the alias of the failed connection, django.contrib.postgres would query types on that connection.
    connection: BaseDatabaseWrapper = connections[DEFAULT_DB_ALIAS].copy(alias=NO_DB_ALIAS)
    if startup_options:
        connection.settings_dict["OPTIONS"] = {**connection.settings_dict["OPTIONS"], "options": startup_options}
    with closing(connection), connection.cursor() as cursor:
        yield cursor


def _read_only_reason(cursor: CursorWrapper) -> str | None:
    cursor.execute("SELECT pg_is_in_recovery(), current_setting('default_transaction_read_only')")
    in_recovery, default = cursor.fetchone()
    if in_recovery:
        return "the server is a hot standby, which is read-only. Set the address of the primary in DATABASE_URL."
    if default == "on":
        return f"{_setting_text(cursor, 'default_transaction_read_only')}. {_undo(cursor, 'default_transaction_read_only')}"
    return None


def _timeout_reason(names: tuple[str, ...], *, is_certain: bool) -> str | None:
    """Return which timeout ended a statement or the session. Without ``is_certain`` it is only likely."""
    try:
        with _diagnostic_cursor() as cursor:
            found = next(filter(None, (_timeout(cursor, name) for name in names)), None)
    except Error as error:
        if str(error).startswith(NOT_CONNECTED):
            raise
        # The timeout is so short that it ends this session too.
        with _diagnostic_cursor(NO_TIMEOUTS) as cursor:
            found = next(filter(None, (_timeout_of_role(cursor, name) for name in names)), None)
    if found is None:
        return None
    value, undo = found
    return f"{value}{'' if is_certain else ', which may have ended the session'}. {undo}"


def _timeout(cursor: CursorWrapper, name: str) -> tuple[str, str] | None:
    """Return the value of the timeout and how to undo it, or None if it is off."""
    cursor.execute("SELECT setting FROM pg_settings WHERE name = %s", [name])
    found = cursor.fetchone()
    return None if found is None or found[0] == "0" else (_setting_text(cursor, name), _undo(cursor, name))


def _timeout_of_role(cursor: CursorWrapper, name: str) -> tuple[str, str] | None:
    """Return the same as ``_timeout`` in a session without timeouts.

    Only a setting of the role or the database is found.
    """
    cursor.execute(_SET_BY, [name])
    set_by = cursor.fetchone()
    if set_by is None:
        return None
    # PostgreSQL adds the unit. The setting ends with the transaction, which is this statement.
    cursor.execute("SELECT set_config(%s, %s, true)", [name, set_by[1]])
    value = cursor.fetchone()[0]
    return None if value == "0" else (f"{name} is {value!r}", _reset(set_by[0], name))


def _setting_text(cursor: CursorWrapper, name: str) -> str:
    cursor.execute("SELECT current_setting(%s)", [name])
    return f"{name} is {cursor.fetchone()[0]!r}"


def _undo(cursor: CursorWrapper, name: str) -> str:
    if _is_of_client(cursor, name):
        return "It is set in DATABASE_URL (options=) or in PGOPTIONS: correct it there."
    cursor.execute(_SET_BY, [name])
    set_by = cursor.fetchone()
    if set_by is None:
        return "It is set by the configuration of the server: correct it there, or for the role in DATABASE_URL with ALTER ROLE."
    return _reset(set_by[0], name)


def _reset(statement: str, name: str) -> str:
    return f"To undo it: {statement} RESET {name}; or use another role in DATABASE_URL."
