"""The admin, migrations and commands distinguish an unavailable PostgreSQL from a rejected statement."""

from __future__ import annotations

import psycopg
import pytest
from django.db import InterfaceError, connection
from django.db.migrations import Migration
from psycopg import errors

from findme.core.postgresql.connection_errors import is_connection_error, is_unavailable
from findme.migrator.diagnostics import describe_leftovers
from tests.support.database import django_error

LOST = psycopg.OperationalError("server closed the connection unexpectedly")
CASES: list[tuple[Exception, bool, bool]] = [
    (LOST, True, True),
    (psycopg.OperationalError("connection failed: connection refused"), True, True),
    (errors.AdminShutdown("terminating connection due to administrator command"), True, False),
    (errors.CrashShutdown("terminating connection because of crash of another server process"), True, False),
    (errors.CannotConnectNow("the database system is starting up"), True, False),
    (errors.TooManyConnections("sorry, too many clients already"), True, False),
    (errors.LockNotAvailable("canceling statement due to lock timeout"), False, False),
    (errors.QueryCanceled("canceling statement due to statement timeout"), False, False),
    (errors.DiskFull("could not extend file"), False, False),
    (RuntimeError("x"), False, False),
]


@pytest.mark.parametrize(("cause", "unavailable", "no_answer"), CASES)
def test_error__by_cause(cause: Exception, unavailable: bool, no_answer: bool) -> None:
    assert (is_unavailable(django_error(cause)), is_connection_error(django_error(cause))) == (unavailable, no_answer)
    assert not is_unavailable(cause) and not is_unavailable(None)


@pytest.mark.parametrize(("cause", "unavailable", "_no_answer"), CASES)
def test_migration__may_be_complete_when_the_connection_ended(cause: Exception, unavailable: bool, _no_answer: bool) -> None:
    """The server may have crashed after the COMMIT, before its answer arrived."""
    unknown = "It was applied completely or not at all: schema_version shows which."
    left = describe_leftovers(Migration("0001_x", "videos"), django_error(cause), connection)
    assert left == (unknown if unavailable else "It left nothing.")
    assert describe_leftovers(Migration("0001_x", "videos"), InterfaceError("the connection is closed"), connection) == unknown
