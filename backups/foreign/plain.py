"""Restore a plain dump by psql, in one transaction, into an empty database."""

from __future__ import annotations

import re
import secrets
import subprocess

from django.db.backends.base.base import BaseDatabaseWrapper

from backups.foreign.detect import Content
from backups.foreign.script import Script
from backups.postgresql.connection import Login, program_connection
from backups.postgresql.processes import RunningProgram, running
from findme.core.commands.progress import Report
from findme.core.errors import UserFacingError
from findme.core.postgresql.programs import find_program

CHUNK_BYTES = 1 << 20
OPTIONS = ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--single-transaction", "--file=-"]
WITHOUT_LIMITS = (
    b"SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings"
    b" WHERE name IN ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout');\n"
)
NO_RESTRICTION = re.compile(r"invalid command \\restrict")


def restore_plain(scratch: BaseDatabaseWrapper, source: Content, size: int, login: Login | None, name: str, report: Report) -> int:
    """Restore what can be read from ``source``. Return how many statements about owners and privileges were left out.

    Raises UserFacingError. The transaction is then rolled back. ``size`` is that of the file on the disk, for the report.
    """
    scratch.ensure_connection()
    server_major = scratch.connection.info.server_version // 10_000
    script = Script(name, server_major)
    target = program_connection(scratch, login=login)
    with running(find_program("psql", server_major), OPTIONS, target, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as psql:
        # The dump does not know the key. So psql itself refuses every command, also one that ``Script`` reads in another way.
        _write(psql, WITHOUT_LIMITS + b"\\restrict " + secrets.token_hex(16).encode() + b"\n")
        while chunk := source.read(CHUNK_BYTES):
            _write(psql, script.feed(chunk))
            report(source.position, size)
        _write(psql, script.finish() + b"\n")
        psql.stdin.close()
        _require_success(psql)
    return script.rights_left_out


def _write(psql: RunningProgram, content: bytes) -> None:
    rest = memoryview(content)
    try:
        while rest:
            rest = rest[psql.stdin.write(rest) :]
    except BrokenPipeError:
        _require_success(psql)
        raise UserFacingError(
            "psql ended before the end of the dump: nothing was restored. Use a dump of pg_dump as it was written."
        ) from None


def _require_success(psql: RunningProgram) -> None:
    try:
        psql.require_success()
    except UserFacingError as error:
        if NO_RESTRICTION.search(str(error)):
            raise UserFacingError(
                "psql does not know \\restrict, which keeps a dump from starting programs: nothing was restored."
                " Install the newest minor version of PostgreSQL's programs."
            ) from error
        raise
