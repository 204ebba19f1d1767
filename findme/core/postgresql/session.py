"""The session settings that FindMe needs to work correctly.

A role, a database, the server and ``PGOPTIONS`` can change the defaults of a session. A statement sets the settings after the connection is made,
as Django sets the time zone. PgBouncer rejects unknown options in the first packet of a connection. docs/how-to/deploy.md lists the settings that are not
pinned.
"""

from __future__ import annotations

from typing import Any

import psycopg
from django.core.exceptions import ImproperlyConfigured

PINNED = {
    # psycopg reads times and intervals in these formats only.
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    # psycopg escapes values itself, but the SQL files of the migrations have backslashes in literals.
    "standard_conforming_strings": "on",
    # Otherwise a NULL in an array becomes the text "NULL".
    "array_nulls": "on",
    # Below 1, PostgreSQL rounds a number when it writes it as text, which would change the vectors.
    "extra_float_digits": "1",
    # A row that a policy hides looks like a deleted user, and FindMe would delete the point. With "off", PostgreSQL raises an error.
    "row_security": "off",
    # PostgreSQL's definitions of triggers, constraints and indexes are compared with those of the migrations.
    "quote_all_identifiers": "off",
    # psycopg sets the isolation level of its transactions, but not of a statement in autocommit.
    "default_transaction_isolation": "read committed",
}
REPLICATION_ROLE = "session_replication_role"
# Set only if necessary, because only a superuser may set it, even to its current value.
PIN = (
    f"SELECT current_setting('{REPLICATION_ROLE}'), "
    + ", ".join(f"set_config('{name}', '{value}', false)" for name, value in PINNED.items())
    # An allocated version and a reported erasure must survive a crash. All values except "off" are strict enough.
    + ", CASE current_setting('synchronous_commit') WHEN 'off' THEN set_config('synchronous_commit', 'on', false) END"
).encode()


def pin_settings(session: psycopg.Connection[Any]) -> None:
    """Apply the settings in ``PINNED`` to a new session, in one statement.

    Raises ImproperlyConfigured if the session runs without triggers and foreign keys and the role may not change that.
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
            f"{REPLICATION_ROLE} is {found!r} for this role or database, so triggers and foreign keys would not run: nothing was done."
            f" Run as a superuser: ALTER ROLE ... RESET {REPLICATION_ROLE}."
        ) from None
