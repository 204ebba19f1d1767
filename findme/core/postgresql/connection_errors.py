"""Which errors mean that PostgreSQL cannot be asked now, and not that it refused what it was asked."""

from __future__ import annotations

from django.db import OperationalError
from psycopg import Error, errors

ENDED_BY_SERVER = (errors.AdminShutdown, errors.CrashShutdown, errors.CannotConnectNow, errors.TooManyConnections)
"""What PostgreSQL sends when it ends, starts or is full."""


def has_no_answer(error: BaseException | None) -> bool:
    """Return whether a connection could not be made or was lost: libpq's own errors have no SQLSTATE, and it keeps that of a refused connection."""
    cause = error.__cause__ if isinstance(error, OperationalError) else None
    return isinstance(cause, Error) and cause.sqlstate is None


def is_unavailable(error: BaseException | None) -> bool:
    """Return whether the same statement may succeed once PostgreSQL can be reached again."""
    cause = error.__cause__ if isinstance(error, OperationalError) else None
    return has_no_answer(error) or isinstance(cause, ENDED_BY_SERVER)
