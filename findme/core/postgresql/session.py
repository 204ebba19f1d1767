"""The settings of a session that FindMe's correctness depends on.

A role, a database, the server and ``PGOPTIONS`` can each give a session other defaults. They are set by a statement after the connection is made,
as Django sets the time zone: PgBouncer refuses unknown options in the first packet of a connection. docs/how-to/deploy.md lists the settings that are
not pinned.
"""

from __future__ import annotations

from typing import Any

import psycopg
from django.core.exceptions import ImproperlyConfigured

PINNED = {
    # psycopg reads times and intervals in these formats only.
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    # psycopg escapes a value by itself, but the SQL files of the migrations have backslashes in literals.
    "standard_conforming_strings": "on",
    # Otherwise a NULL in an array becomes the text "NULL".
    "array_nulls": "on",
    # Below 1 a number is rounded when it is written as text: the vectors would change.
    "extra_float_digits": "1",
    # A row that a policy hides looks like a deleted user, whose point would be removed. Now PostgreSQL raises an error instead.
    "row_security": "off",
    # psycopg sets the isolation of its own transactions, but not of a statement in autocommit.
    "default_transaction_isolation": "read committed",
}
REPLICATION_ROLE = "session_replication_role"
# Not set unless it must be: only a superuser may set it, even to the value that it has.
PIN = (
    f"SELECT current_setting('{REPLICATION_ROLE}'), "
    + ", ".join(f"set_config('{name}', '{value}', false)" for name, value in PINNED.items())
    # An allocated version and a reported erasure must survive a crash. Every other value is at least as strict as "local".
    + ", CASE current_setting('synchronous_commit') WHEN 'off' THEN set_config('synchronous_commit', 'on', false) END"
).encode()


def pin_settings(session: psycopg.Connection[Any]) -> None:
    """Give a new session the settings in ``PINNED``, in one statement.

    Raises ImproperlyConfigured where the session would run without triggers and foreign keys, and the role may not change that.
    """
    with session.cursor() as cursor:
        row = cursor.execute(PIN).fetchone()
        if row is not None and row[0] != "origin":
            _fire_triggers(cursor, row[0])


def _fire_triggers(cursor: psycopg.Cursor[Any], found: str) -> None:
    try:
        cursor.execute(f"SET {REPLICATION_ROLE} = origin".encode())
    except psycopg.errors.InsufficientPrivilege:
        raise ImproperlyConfigured(
            f"{REPLICATION_ROLE} is {found!r} for this role or database, so triggers and foreign keys would not act: nothing was done."
            f" Undo it as a superuser: ALTER ROLE ... RESET {REPLICATION_ROLE}."
        ) from None
