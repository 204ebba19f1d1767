"""Databases that golang-migrate made with the files of the migration guide."""

from __future__ import annotations

from collections.abc import Sequence

from findme.migrator.baseline.scratch import guide_sql
from tests.support.database import Database

UUID_GENERATE_V4 = "CREATE FUNCTION uuid_generate_v4() RETURNS uuid LANGUAGE sql AS 'SELECT gen_random_uuid()'"
"""A stand-in for uuid-ossp, which the embedded PostgreSQL does not have."""


def create_guide(database: Database, versions: Sequence[int] = (1, 2, 3, 4), *, recorded: int | None = 4, schema: str = "public") -> None:
    """Run the guide's migrations ``versions``, and record the version as golang-migrate does, unless it is None."""
    statements = [f"CREATE SCHEMA IF NOT EXISTS {schema}; SET search_path = {schema}, public", UUID_GENERATE_V4, *map(guide_sql, versions)]
    if recorded is not None:
        statements += [
            "CREATE TABLE schema_migrations (version bigint NOT NULL PRIMARY KEY, dirty boolean NOT NULL)",
            f"INSERT INTO schema_migrations VALUES ({recorded}, false)",
        ]
    database.execute(";\n".join(statements))
