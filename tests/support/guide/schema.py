"""The tables of the migration guide in a database, as golang-migrate leaves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg

from findme.migrator.baseline.scratch import GUIDE_FOLDER, GUIDE_TABLES, guide_sql
from tests.support.database import Database

FOLDER = "migrations/postgres"
"""Where the guide's program looks for its migrations."""

VERSIONS = "CREATE TABLE IF NOT EXISTS public.schema_migrations (version bigint not null primary key, dirty boolean not null)"
"""golang-migrate's own table. It has one row."""

STAND_IN = "CREATE FUNCTION uuid_generate_v4() RETURNS uuid LANGUAGE sql AS 'SELECT gen_random_uuid()';\n"
"""For a server without the extension uuid-ossp, such as the embedded one."""


def create_guide_tables(database: Database, version: int = len(GUIDE_TABLES)) -> None:
    """Do what ``migrate up`` does with the guide's first ``version`` migrations."""
    with database.connect() as session:
        for number in range(1, version + 1):
            session.execute(_migration(session, number).encode())
        session.execute(VERSIONS)
        session.execute("INSERT INTO schema_migrations (version, dirty) VALUES (%s, false)", [version])


def write_migrations(database: Database, folder: Path) -> Path:
    """Write the guide's migrations for golang-migrate below ``folder``, as this server can run them. Return their folder."""
    target = folder / FOLDER
    target.mkdir(parents=True)
    with database.connect() as session:
        for number in range(1, len(GUIDE_TABLES) + 1):
            [path] = GUIDE_FOLDER.glob(f"{number:06}_*.up.sql")
            (target / path.name).write_text(_migration(session, number))
    return target


def _migration(session: psycopg.Connection[Any], number: int) -> str:
    """Return the guide's SQL, unchanged if the server has the extension uuid-ossp."""
    [available] = session.execute("SELECT count(*) FROM pg_available_extensions WHERE name = 'uuid-ossp'").fetchall()
    if available[0]:
        [path] = GUIDE_FOLDER.glob(f"{number:06}_*.up.sql")
        return path.read_text()
    return (STAND_IN if number == 1 else "") + guide_sql(number)
