"""Databases as golang-migrate and the services of the migration guide leave them."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any

from django.db import connection

from findme.migrator.baseline.catalog import Table
from findme.migrator.baseline.convert import Converted, convert
from findme.migrator.baseline.scratch import GUIDE_TABLES, guide_sql, migrated_tables
from findme.migrator.migrate import running
from findme.migrator.timeouts import MigrationTimeouts
from tests.support.database import Database

TIMEOUTS = MigrationTimeouts(wait_seconds=60, table_lock_seconds=5, attempts=10)

UUID_OSSP = "CREATE FUNCTION uuid_generate_v4() RETURNS uuid LANGUAGE sql AS 'SELECT gen_random_uuid()'"
GOLANG_MIGRATE = "CREATE TABLE schema_migrations (version bigint NOT NULL PRIMARY KEY, dirty boolean NOT NULL)"

ROWS = (
    """
    INSERT INTO users (id, email, password_hash, full_name, date_of_birth, gender, bio, verified)
    SELECT ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, 'User' || n || '@Example.com', 'hash' || n, 'User ' || n,
           date '1980-01-01' + n, (ARRAY['male', 'female', 'other'])[1 + n % 3], 'Bio ' || n, n % 2 = 0
    FROM generate_series(1, 40) n
    """,
    """
    INSERT INTO videos (id, user_id, storage_url, duration, file_size, verification_score)
    SELECT id, id, 's3://' || id, 30, 1000, 0.5 FROM users;
    UPDATE users SET video_id = id WHERE verified
    """,
    """
    INSERT INTO matches (id, user_id, matched_user_id, week_number, year, match_score, expires_at, user_action)
    SELECT a.id, a.id, b.id, 10, 2026, 0.25, '2026-03-09', 'accepted'
    FROM users a JOIN users b ON right(b.id::text, 12)::int = right(a.id::text, 12)::int + 1
    """,
    """
    INSERT INTO video_calls (id, match_id, caller_id, callee_id, session_id, started_at, ended_at, duration, status)
    SELECT id, id, matched_user_id, user_id, 'session-' || id, '2026-03-03 10:00Z', '2026-03-03 10:05Z', 300, 'ended' FROM matches
    """,
)
ANONYMIZED = "00000000-0000-4000-8000-000000000007"
ANONYMIZE = f"""
    UPDATE users SET email = 'deleted_' || id || '@findme.ai', full_name = 'Deleted User', bio = NULL, password_hash = '', deleted_at = NOW()
    WHERE id = '{ANONYMIZED}'
"""


def create_guide_tables(database: Database, version: int = 4, schema: str = "public") -> None:
    """Create the guide's tables up to ``version``, with rows, and golang-migrate's own table."""
    with database.connect() as session:
        session.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}".encode())
        session.execute(f"SET search_path = {schema}, public".encode())
        session.execute(UUID_OSSP.encode())
        for number in range(1, version + 1):
            session.execute(guide_sql(number).encode())
        session.execute(GOLANG_MIGRATE.encode())
        session.execute(b"INSERT INTO schema_migrations VALUES (%s, false)", [version])
        for statement in ROWS[:version]:
            session.execute(statement.encode())
        session.execute(ANONYMIZE.encode())


def rows(database: Database, version: int = 4, schema: str = "public") -> dict[str, list[Any]]:
    """Return the rows of the guide's tables, each with the columns of the guide only."""
    with database.connect() as session:
        session.execute(f"SET search_path = {schema}".encode())
        found = {}
        for table in GUIDE_TABLES[:version]:
            added = b"{last_login,is_staff,is_superuser,restricted_at,objected_at,unconfirmed_at}"
            query = f"SELECT to_jsonb(t) - %s::text[] FROM {table} t ORDER BY id"
            found[table] = [json.dumps(row, sort_keys=True) for (row,) in session.execute(query.encode(), [added.decode()]).fetchall()]
    return found


def target_tables() -> dict[str, Table]:
    return migrated_tables(connection, GUIDE_TABLES)


def convert_tables(
    target: dict[str, Table],
    *,
    schema: str = "public",
    timeouts: MigrationTimeouts = TIMEOUTS,
    on_step: Callable[[str], object] = lambda _: None,
    on_warning: Callable[[str], None] = lambda _: None,
    recheck: Callable[[], object] = lambda: None,
) -> Converted:
    """Convert the tables of Django's database under the migration lock, as the command does."""
    with running("baseline", using="default", timeouts=timeouts, on_warning=on_warning) as run:
        return convert(run, connection, schema, target, on_step=on_step, recheck=recheck)


class Reached(Exception):
    """The conversion has reached the step at which the test stops it."""


def convert_tables_only(
    target: dict[str, Table], on_step: Callable[[str], object] = lambda _: None, timeouts: MigrationTimeouts = TIMEOUTS
) -> None:
    """Do the steps before the migrations, which take most of the time."""

    def stop_at_migrations(description: str) -> None:
        if "the migration" in description:
            raise Reached
        on_step(description)

    with suppress(Reached):
        convert_tables(target, on_step=stop_at_migrations, timeouts=timeouts)


def without(lines: Collection[str], *beginnings: str) -> set[str]:
    """Return the lines of a catalog that do not begin with one of ``beginnings``."""
    return {line for line in lines if not line.startswith(beginnings)}
