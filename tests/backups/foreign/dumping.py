"""Dumps by the programs of PostgreSQL, as the users of the migration guide make them."""

from __future__ import annotations

import gzip
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper

from backups.postgresql.cluster import describe_database
from backups.postgresql.connection import program_connection
from backups.postgresql.scratch import scratch_database
from findme.core.postgresql.programs import Program, find_program
from tests.support.waiting import DEADLINE_SECONDS


def server_major() -> int:
    connection.ensure_connection()
    return int(connection.connection.info.server_version) // 10_000


def pg_dump(path: Path, *options: str, program: Program | None = None) -> Path:
    """Dump Django's database to ``path``, compressed by gzip if the name ends so."""
    found = program_connection(connection)
    dumper = program or find_program("pg_dump", server_major())
    command = [str(dumper.path), f"--dbname={found.conninfo}", "--no-password", *options]
    content = subprocess.run(command, env=found.environment, capture_output=True, timeout=DEADLINE_SECONDS, check=True).stdout
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@contextmanager
def scratch() -> Iterator[BaseDatabaseWrapper]:
    """An empty scratch database like that of Django, which is dropped afterwards."""
    with scratch_database(connection, describe_database(connection), "test") as made:
        yield made


def query(made: BaseDatabaseWrapper, statement: str) -> list[object]:
    """Return the first column of every row."""
    with made.cursor() as cursor:
        cursor.execute(statement)
        return [row[0] for row in cursor.fetchall()]
