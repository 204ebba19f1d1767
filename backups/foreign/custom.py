"""Restore a dump in the custom format that no backup of FindMe has."""

from __future__ import annotations

from django.db.backends.base.base import BaseDatabaseWrapper

from backups.foreign.detect import DumpFile, opened, size_of
from backups.postgresql.connection import Login
from backups.postgresql.restore import restore_file, restore_stream
from findme.core.commands.progress import Report

CHUNK_BYTES = 1 << 20


def restore_custom(scratch: BaseDatabaseWrapper, dump: DumpFile, login: Login | None, report: Report, *, jobs: int) -> None:
    """Restore the dump without owners and privileges. Raise UserFacingError. Several jobs need a file that is not compressed as a whole."""
    if not dump.is_gzip:
        restore_file(scratch, dump.dump_major, dump.path, jobs=jobs, with_owners=False, login=login)
        return
    with (
        opened(dump.path, is_gzip=True) as source,
        restore_stream(scratch, dump.dump_major, with_owners=False, login=login) as sink,
    ):
        while chunk := source.read(CHUNK_BYTES):
            sink.write(chunk)
            report(source.position, size_of(dump.path))
