"""Fetch the files of a backup: decrypted, decompressed and compared with the manifest, in a folder that only this account can read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backups.destinations.destination import Destination
from backups.manifest import File, Manifest
from backups.postgresql.cluster import DatabaseDescription
from backups.streams.keys import Identity
from backups.streams.load import load
from backups.streams.stored_file import StoredFile
from findme.core.commands.progress import Report, ignore_progress
from findme.core.errors import UserFacingError


@dataclass(frozen=True, slots=True)
class Fetched:
    """The files of a backup on this machine. ``snapshots`` are empty without Qdrant's part."""

    description: DatabaseDescription
    dump: Path
    snapshots: tuple[Path, ...]


def fetch(
    destination: Destination,
    manifest: Manifest,
    folder: Path,
    identities: Sequence[Identity],
    *,
    with_qdrant: bool,
    report: Report = ignore_progress,
) -> Fetched:
    """Write the files of the backup, which has a part of PostgreSQL, to ``folder``. Every size and checksum is that of the manifest when this returns.

    Raises UserFacingError, which names the file, for a damaged or missing file, a missing or wrong key and too little room, and StoreUnavailable.
    """
    assert manifest.postgresql is not None
    snapshots = [node.file for node in manifest.qdrant.nodes] if manifest.qdrant is not None and with_qdrant else []
    files = [manifest.postgresql.cluster, manifest.postgresql.dump, *snapshots]
    description, dump, *paths = fetch_files(destination, manifest, files, folder, identities, report)
    return Fetched(_description(description), dump, tuple(paths))


def fetch_files(
    destination: Destination,
    manifest: Manifest,
    files: Sequence[File],
    folder: Path,
    identities: Sequence[Identity],
    report: Report = ignore_progress,
) -> list[Path]:
    """Write these files of the backup to ``folder``, and return their paths. Raises as ``fetch`` does."""
    require_room(folder, sum(file.plain_size for file in files))
    paths, done = list[Path](), 0
    for file in files:
        paths.append(_fetch(destination, manifest.name, file, folder, identities))
        done += file.size
        report(done, sum(one.size for one in files))
    return paths


def require_room(folder: Path, size: int) -> None:
    """Raise UserFacingError if the file system of ``folder`` has less than ``size`` bytes left."""
    free = shutil.disk_usage(folder).free
    if free < size:
        raise UserFacingError(
            f"The backup needs {size:,} bytes in {str(folder.parent)!r}, which has {free:,} left: nothing was restored. Make room, or name another"
            " folder with --temporary-folder."
        )


def _fetch(destination: Destination, backup: str, file: File, folder: Path, identities: Sequence[Identity]) -> Path:
    path = folder / file.name.removesuffix(".age").removesuffix(".zst")
    path.touch(mode=0o600, exist_ok=False)
    expected = StoredFile(file.size, file.sha256, file.plain_size, file.plain_sha256)
    with destination.read(backup, file.name) as source, path.open("wb") as sink:
        load(source, sink, identities, expected, name=file.name)
    return path


def _description(path: Path) -> DatabaseDescription:
    try:
        return DatabaseDescription.from_json(json.loads(path.read_bytes()))
    except (ValueError, TypeError, KeyError) as error:
        raise UserFacingError(f"{path.name!r} describes no database. Use another backup.") from error
