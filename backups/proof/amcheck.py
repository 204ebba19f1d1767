"""Run ``pg_amcheck`` in a restored database: it looks for damaged pages of tables and indexes."""

from __future__ import annotations

import subprocess

from django.db import DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper

from backups.postgresql.connection import program_connection
from backups.postgresql.processes import running
from findme.core.errors import UserFacingError, one_line, without_detail
from findme.core.postgresql.programs import find_program


def check_pages(connection: BaseDatabaseWrapper) -> str:
    """Check all tables and indexes. Return why they were not checked, empty if they were.

    The extension ``amcheck`` is created in the database. Raise UserFacingError, which names the table or index, for damaged pages.
    """
    connection.ensure_connection()
    try:
        program = find_program("pg_amcheck", connection.connection.info.server_version // 10_000)
    except UserFacingError as error:
        return one_line(error).partition(". ")[0]
    try:
        with connection.cursor() as cursor:
            cursor.execute("CREATE EXTENSION amcheck")
    except DatabaseError as error:
        return without_detail(error)
    with running(program, [], program_connection(connection), stdout=subprocess.PIPE, database_option="") as started:
        # The report names tables, indexes, blocks and offsets, and no values. It can be as long as the database.
        report = started.stdout.read(10_000).decode(errors="replace")
        while started.stdout.read(1 << 20):
            pass
        if report.strip():
            raise UserFacingError(
                f"pg_amcheck found damaged pages in the restored database: {one_line(UserFacingError(report))[:500].rstrip('.')}."
                " Check the disks and the memory of the server, then restore again."
            )
        started.require_success()
    return ""
