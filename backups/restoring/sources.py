"""What can be restored: a backup of FindMe, which has a manifest, and a dump of PostgreSQL that another program made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from django.db.backends.base.base import BaseDatabaseWrapper

from backups.checks import require_known_migrations, require_snapshot_version
from backups.contents import StoredBackup
from backups.foreign.detect import DumpFile
from backups.foreign.restore import require_dump, restore_dump
from backups.foreign.schema import Tables
from backups.listing import list_recorded
from backups.manifest import Manifest
from backups.postgresql.cluster import DatabaseDescription, describe_database
from backups.postgresql.restore import restore_program
from backups.restoring.files import fetch
from backups.restoring.scratch_contents import fill, require_roles
from findme.core.commands.progress import Report
from findme.core.errors import UserFacingError
from privacy.ledger.signing import verifying_keys


@dataclass(frozen=True, slots=True)
class Fetched:
    """What is on this machine now. ``description`` is that of the database that was backed up, or of one with the same locale.

    ``dump`` is None if the source itself is the file. ``snapshots`` are empty without Qdrant's part.
    """

    description: DatabaseDescription
    dump: Path | None
    snapshots: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Filled:
    """What a scratch database has. ``rows`` is None if nothing says how many there must be. ``is_of_the_guide`` tables need ``baseline``."""

    rows: int | None
    is_of_the_guide: bool
    sentences: tuple[str, ...]


class Source(Protocol):
    """A backup that can be restored. Each method raises UserFacingError and StoreUnavailable."""

    name: str

    @property
    def taken_at(self) -> datetime | None:
        """The time of the data, None if nothing says it."""

    def has_snapshots(self) -> bool:
        """Return whether the collection can come from a snapshot."""

    def require_restorable(self, session: BaseDatabaseWrapper) -> None:
        """Check what can be checked by the manifest and the programs. ``session`` is in another database of the server."""

    def require_snapshots(self, nodes: Sequence[str]) -> None:
        """Check that the servers can take the snapshots."""

    def fetch(self, session: BaseDatabaseWrapper, folder: Path, *, with_owners: bool, with_qdrant: bool, report: Report) -> Fetched:
        """Write the files to ``folder``, which only this account can read. Every checksum that is known was compared when this returns."""

    def fill(self, scratch: BaseDatabaseWrapper, fetched: Fetched, *, jobs: int, with_owners: bool, report: Report) -> Filled:
        """Restore PostgreSQL into the empty scratch database, and compare it with what is known of it."""

    def record(self) -> None:
        """Let the restored database know the backups of the source's destination: it has neither this one nor newer ones."""


class BackupSource:
    """A backup that ``backup`` has made."""

    def __init__(self, stored: StoredBackup, manifest: Manifest) -> None:
        if manifest.postgresql is None:
            raise UserFacingError(
                f"{manifest.name!r} has no part of PostgreSQL: nothing was restored. --only qdrant restores its snapshot."
            )
        self.name = manifest.name
        self.stored, self.manifest, self.postgresql = stored, manifest, manifest.postgresql

    @property
    def taken_at(self) -> datetime | None:
        return self.postgresql.snapshot_at

    def has_snapshots(self) -> bool:
        return self.manifest.qdrant is not None

    def require_restorable(self, session: BaseDatabaseWrapper) -> None:
        require_known_migrations(self.manifest, self.postgresql)
        restore_program(session, self.postgresql.dump_major)

    def require_snapshots(self, nodes: Sequence[str]) -> None:
        assert self.manifest.qdrant is not None
        require_snapshot_version(self.manifest.qdrant, nodes)

    def fetch(self, session: BaseDatabaseWrapper, folder: Path, *, with_owners: bool, with_qdrant: bool, report: Report) -> Fetched:
        fetched = fetch(self.stored, self.manifest, folder, with_qdrant=with_qdrant, report=report)
        if with_owners:
            require_roles(session, fetched.description)
        return Fetched(fetched.description, fetched.dump, fetched.snapshots)

    def fill(self, scratch: BaseDatabaseWrapper, fetched: Fetched, *, jobs: int, with_owners: bool, report: Report) -> Filled:
        assert fetched.dump is not None
        fill(scratch, self.postgresql, fetched.dump, fetched.description, jobs=jobs, with_owners=with_owners)
        sentence = f"{self.postgresql.rows:,} rows, each table with the digest of the manifest."
        return Filled(self.postgresql.rows, is_of_the_guide=False, sentences=(sentence,))

    def record(self) -> None:
        list_recorded(self.stored.destination, verifying_keys())


class DumpSource:
    """A file of ``pg_dump``. It has no manifest, no owners that are restored, and no snapshot."""

    taken_at = None

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self.dump: DumpFile = require_dump(path)

    def has_snapshots(self) -> bool:
        return False

    def require_restorable(self, session: BaseDatabaseWrapper) -> None:
        """Check nothing: the file is read when it is restored."""

    def require_snapshots(self, nodes: Sequence[str]) -> None:
        """Check nothing: there is no snapshot."""

    def fetch(self, session: BaseDatabaseWrapper, folder: Path, *, with_owners: bool, with_qdrant: bool, report: Report) -> Fetched:
        return Fetched(describe_database(session), None, ())

    def fill(self, scratch: BaseDatabaseWrapper, fetched: Fetched, *, jobs: int, with_owners: bool, report: Report) -> Filled:
        found = restore_dump(scratch, self.dump, report, jobs=jobs)
        return Filled(None, found.tables is Tables.GUIDE, tuple(found.sentences))

    def record(self) -> None:
        """Do nothing: the file is in no destination."""
