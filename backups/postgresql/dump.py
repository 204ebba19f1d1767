"""The dump of a snapshot, as a stream in the custom format of ``pg_dump``."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

from backups.postgresql.connection import program_connection
from backups.postgresql.processes import RunningProgram, running
from backups.postgresql.snapshot import Snapshot
from backups.postgresql.tables import Table
from findme.core.postgresql.programs import Program, find_program

LOCK_SECONDS = 60.0
"""How long ``pg_dump`` waits for a table that another session changes."""


class _Output(io.RawIOBase):
    """The output of a program. Its end is an error if the program has failed: what was read before it looks like a whole file."""

    def __init__(self, program: RunningProgram) -> None:
        self._program = program

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # io calls it with a memoryview
        read = self._program.stdout.readinto(buffer)  # type: ignore[attr-defined]  # a pipe without a buffer
        if not read:
            self._program.require_success()
        return int(read or 0)


def dump_program(snapshot: Snapshot) -> Program:
    """Return the ``pg_dump`` for the server of the snapshot. Raise UserFacingError if all are older."""
    return find_program("pg_dump", snapshot.connection.connection.info.server_version // 10_000)


@contextmanager
def dump(snapshot: Snapshot, tables: Sequence[Table] = (), *, wait_seconds: float = LOCK_SECONDS) -> Iterator[BinaryIO]:
    """Yield the dump of the whole database, or of ``tables`` only, in the custom format without compression.

    The last ``read``, and the end of the block, raise UserFacingError if ``pg_dump`` has failed or its output was not read to the end. So a reader that
    gets ``b""`` has read a complete dump. An exception in the block ends ``pg_dump`` and its query.
    """
    options = [
        "--format=custom",
        "--compress=0",
        f"--snapshot={snapshot.id}",
        f"--lock-wait-timeout={round(wait_seconds * 1000)}",
        *(f"--table={table.quoted}" for table in tables),
    ]
    # The connection of the snapshot, since only its server has it.
    target = program_connection(snapshot.connection)
    with running(dump_program(snapshot), options, target, stdout=subprocess.PIPE) as program:
        with io.BufferedReader(_Output(program), 1 << 20) as stream:
            yield stream
        program.stdout.close()
        program.require_success()
