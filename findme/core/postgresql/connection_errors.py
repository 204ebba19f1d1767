"""Errors that mean that PostgreSQL is unavailable now, not that it rejected a statement."""

from __future__ import annotations

from django.db import OperationalError
from psycopg import Error, errors

ENDED_BY_SERVER = (errors.AdminShutdown, errors.CrashShutdown, errors.CannotConnectNow, errors.TooManyConnections)
"""Errors of a server that shuts down, starts, or has no free connection."""


def is_connection_error(error: BaseException | None) -> bool:
    """Return whether a connection failed or was lost.

    libpq's own errors have no SQLSTATE. For a rejected connection, libpq does not pass on the SQLSTATE of the server.
    """
    cause = error.__cause__ if isinstance(error, OperationalError) else None
    return isinstance(cause, Error) and cause.sqlstate is None


def is_unavailable(error: BaseException | None) -> bool:
    """Return whether the same statement may succeed once PostgreSQL can be reached again."""
    cause = error.__cause__ if isinstance(error, OperationalError) else None
    return is_connection_error(error) or isinstance(cause, ENDED_BY_SERVER)
