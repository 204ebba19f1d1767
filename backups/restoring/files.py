"""Fetch the files of a backup: decrypted, decompressed and compared with the manifest, in a folder that only this account can read."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from backups.contents import StoredBackup, described_database, extract_snapshots
from backups.manifest import Manifest
from backups.postgresql.cluster import DatabaseDescription
from findme.core.commands.progress import Report, ignore_progress
from findme.core.errors import UserFacingError


@dataclass(frozen=True, slots=True)
class Fetched:
    """The files of a backup on this machine. ``snapshots`` are empty without Qdrant's part."""

    description: DatabaseDescription
    dump: Path
    snapshots: tuple[Path, ...]


def fetch(backup: StoredBackup, manifest: Manifest, folder: Path, *, with_qdrant: bool, report: Report = ignore_progress) -> Fetched:
    """Write the files of the backup, which has a part of PostgreSQL, to ``folder``. Every size and checksum is that of the manifest when this returns.

    Raises UserFacingError, which names the file, for a damaged or missing file, a missing or wrong key and too little room, and StoreUnavailable.
    """
    part = manifest.postgresql
    assert part is not None
    qdrant = manifest.qdrant if with_qdrant else None
    nodes = () if qdrant is None else qdrant.nodes
    require_room(folder, part.dump.plain_size + sum(node.file.plain_size for node in nodes))
    dump = folder / "postgresql.dump"
    with os.fdopen(os.open(dump, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        backup.load(part.dump, file)
    return Fetched(described_database(backup, part), dump, () if qdrant is None else extract_snapshots(backup, qdrant, folder, report))


def require_room(folder: Path, size: int) -> None:
    """Raise UserFacingError if the file system of ``folder`` has less than ``size`` bytes left."""
    free = shutil.disk_usage(folder).free
    if free < size:
        raise UserFacingError(
            f"The backup needs {size:,} bytes in {str(folder.parent)!r}, which has {free:,} left: nothing was restored. Make room, or name another"
            " folder with --temporary-folder."
        )
