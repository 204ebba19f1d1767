"""Restore a dump in the custom format into a database that exists and is empty."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.db.backends.base.base import BaseDatabaseWrapper

from backups.postgresql.connection import Login, program_connection
from backups.postgresql.processes import RunningProgram, running
from findme.core.postgresql.programs import Program, find_program

TRANSACTION_TIMEOUT = 17
"""The version since which programs set ``transaction_timeout`` in every session. Older servers do not know the setting."""
UNKNOWN_SETTING = re.compile(r'^pg_restore: error: .*"transaction_timeout"$', re.MULTILINE)


class RestoreInput:
    """The input of ``pg_restore``. A write after ``pg_restore`` has failed raises UserFacingError with its words."""

    def __init__(self, program: RunningProgram) -> None:
        self._program = program

    def write(self, content: bytes) -> int:
        rest = memoryview(content)
        try:
            while rest:
                rest = rest[self._program.stdin.write(rest) :]
        except BrokenPipeError:
            # pg_restore does not read beyond the last table. The rest is of no use to it, but the caller checks it.
            self._program.require_success()
        return len(content)

    def flush(self) -> None:
        """Do nothing: every write reaches the pipe at once."""


def restore_program(connection: BaseDatabaseWrapper, dump_major: int) -> Program:
    """Return a ``pg_restore`` that is at least as new as ``dump_major``, the major version of ``pg_dump``, and as the server.

    Raises UserFacingError if all are older.
    """
    return find_program("pg_restore", max(dump_major, _server_major(connection)))


@contextmanager
def restore_stream(
    connection: BaseDatabaseWrapper, dump_major: int, *, with_owners: bool = True, login: Login | None = None
) -> Iterator[RestoreInput]:
    """Yield the input of a ``pg_restore`` into the database of ``connection``.

    The end of the block waits until everything is restored, and raises UserFacingError after an error. An exception in the block ends
    ``pg_restore``. The database is then incomplete in both cases. Without ``with_owners`` all belongs to the role of the connection, or to that of
    ``login``, and no privileges are granted. With it, the roles must exist.
    """
    with _restoring(connection, dump_major, [], with_owners=with_owners, login=login, stdin=subprocess.PIPE) as started:
        yield RestoreInput(started)
        started.stdin.close()


def restore_file(
    connection: BaseDatabaseWrapper, dump_major: int, path: Path, *, jobs: int, with_owners: bool = True, login: Login | None = None
) -> None:
    """Restore the file ``path`` as ``restore_stream`` does, with ``jobs`` sessions at the same time."""
    arguments = [f"--jobs={jobs}", "--", str(path)]
    with _restoring(connection, dump_major, arguments, with_owners=with_owners, login=login, stdin=subprocess.DEVNULL):
        pass


@contextmanager
def _restoring(
    connection: BaseDatabaseWrapper, dump_major: int, arguments: list[str], *, with_owners: bool, login: Login | None, stdin: int
) -> Iterator[RunningProgram]:
    program = restore_program(connection, dump_major)
    # A newer program reports the unknown setting as an error, so it must not stop at the first one.
    tolerated = UNKNOWN_SETTING if program.major >= TRANSACTION_TIMEOUT > _server_major(connection) else None
    options = [
        "--format=custom",
        *([] if tolerated else ["--exit-on-error"]),
        *([] if with_owners else ["--no-owner", "--no-privileges"]),
        *arguments,
    ]
    target = program_connection(connection, login=login)
    with running(program, options, target, stdin=stdin, stdout=subprocess.DEVNULL, tolerated=tolerated) as started:
        yield started
        started.require_success()


def _server_major(connection: BaseDatabaseWrapper) -> int:
    connection.ensure_connection()
    return int(connection.connection.info.server_version) // 10_000
