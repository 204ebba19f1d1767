"""Bring the contents of a backup back: the dump into a database that exists, the snapshots into a folder."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from django.db.backends.base.base import BaseDatabaseWrapper

from backups.destinations.destination import Destination
from backups.manifest import File, PostgresqlPart, QdrantPart
from backups.postgresql.cluster import DatabaseDescription
from backups.postgresql.digests import table_digests
from backups.postgresql.restore import restore_stream
from backups.postgresql.tables import dumped_tables
from backups.streams.keys import Identity
from backups.streams.load import load
from backups.streams.stored_file import StoredFile
from backups.streams.writing import write_all
from findme.core.commands.progress import Report, ignore_progress
from findme.core.errors import UserFacingError


@dataclass(frozen=True, slots=True)
class StoredBackup:
    """A backup in its destination, with the keys for its files. Without ``identities`` no encrypted file can be read."""

    destination: Destination
    name: str
    identities: Sequence[Identity]

    def load(self, file: File, sink: BinaryIO) -> None:
        """Write the content of the file to ``sink``. Raise UserFacingError, after a part was written, if it is not that of the manifest."""
        expected = StoredFile(file.size, file.sha256, file.plain_size, file.plain_sha256)
        with self.destination.read(self.name, file.name) as source:
            load(source, sink, self.identities, expected, name=file.name)


def described_database(backup: StoredBackup, part: PostgresqlPart) -> DatabaseDescription:
    """Return what the dump leaves out: the locale, the owner, grants and settings of the database, and the roles."""
    content = io.BytesIO()
    backup.load(part.cluster, content)
    return DatabaseDescription.from_json(json.loads(content.getvalue()))


def restore_dump(
    backup: StoredBackup, part: PostgresqlPart, target: BaseDatabaseWrapper, *, with_owners: bool, report: Report = ignore_progress
) -> None:
    """Restore the dump into the empty database of ``target``. Raise UserFacingError: then the database is incomplete.

    PostgreSQL runs what the dump says before its last byte is compared. So verify the backup first. ``with_owners`` as in ``restore_stream``.
    """
    with restore_stream(target, part.dump_major, with_owners=with_owners) as stream:
        backup.load(part.dump, cast("BinaryIO", _Reporting(cast("BinaryIO", stream), report, part.dump.plain_size)))


def digest_differences(part: PostgresqlPart, restored: BaseDatabaseWrapper) -> list[str]:
    """Return a sentence for each table whose rows are not those of the manifest."""
    found = table_digests(restored, dumped_tables(restored))
    differences = []
    for name in sorted(part.tables.keys() | found.keys()):
        expected, table = part.tables.get(name), found.get(name)
        if table is None:
            differences.append(f"The table {name!r} is missing")
        elif expected is None:
            differences.append(f"The table {name!r} is not in the manifest")
        elif table.rows != expected.rows:
            differences.append(f"The table {name!r} has {table.rows:,} rows instead of {expected.rows:,}")
        elif table.digest != expected.digest:
            differences.append(f"The digest of the table {name!r} differs, although the number of rows is the same")
    return differences


def require_equal_digests(part: PostgresqlPart, restored: BaseDatabaseWrapper) -> None:
    """Raise UserFacingError, which names the first table, if ``digest_differences`` finds one."""
    if differences := digest_differences(part, restored):
        more = f" ({len(differences)} tables differ)" if len(differences) > 1 else ""
        raise UserFacingError(f"{differences[0]}{more}: the restored database is not the one of the manifest. Use another backup.")


def extract_snapshots(backup: StoredBackup, part: QdrantPart, folder: Path, report: Report = ignore_progress) -> tuple[Path, ...]:
    """Write the snapshot of each node to the private ``folder``, decrypted, with mode 0600. Return the paths in the order of the manifest."""
    paths = []
    for node in part.nodes:
        path = folder / f"qdrant-{node.peer_id}.snapshot"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            backup.load(node.file, cast("BinaryIO", _Reporting(file, report, node.file.plain_size)))
        paths.append(path)
    return tuple(paths)


class _Reporting:
    """A sink that reports how much it was given."""

    def __init__(self, sink: BinaryIO, report: Report, total: int) -> None:
        self.sink, self.report, self.total, self.done = sink, report, total, 0

    def write(self, data: bytes) -> int:
        write_all(self.sink, data)
        self.done += len(data)
        self.report(self.done, self.total)
        return len(data)
