"""Make one backup of both stores.

One exported snapshot of PostgreSQL feeds the dump and the figures of the manifest. Qdrant's snapshots come after it. The manifest is written last:
without it there is no backup.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from django.db import connection

from backups.destinations.destination import MANIFEST, Destination
from backups.listing import list_recorded
from backups.lock import backup_lock
from backups.manifest import FORMAT, KIND, Database, Manifest, signed
from backups.postgres import back_up_postgresql, database_of
from backups.qdrant import Servers, back_up_qdrant, reason_without_qdrant, require_qdrant
from backups.streams.keys import Recipient
from findme.core.commands.progress import Report, ignore_progress
from findme.core.errors import StoreUnavailable, UserFacingError
from findme.core.version import __version__
from privacy.ledger.signing import signing_key, verifying_keys
from vectorstore.snapshots.nodes import refuse_embedded

Only = Literal["", "postgres", "qdrant"]

log = logging.getLogger("findme.backups")


@dataclass(frozen=True, slots=True)
class Request:
    """What to back up. ``only`` is one of the stores, or empty for both. ``tables`` are names of tables, empty for all."""

    only: Only
    tables: tuple[str, ...]
    recipients: Sequence[Recipient]
    servers: Servers


def create_backup(destination: Destination, request: Request, report: Report = ignore_progress) -> Manifest:
    """Make a backup and return its manifest. What a killed run of this database left in the destination is removed first.

    Raise UserFacingError and StoreUnavailable. Then nothing that looks like a backup is left, and what was written is removed.
    """
    key = signing_key()
    without_qdrant = reason_without_qdrant() if not request.only else ""
    if request.only == "qdrant":
        refuse_embedded("snapshots")
    with_qdrant = request.only != "postgres" and not without_qdrant
    database = database_of(connection)
    with backup_lock("backup"):
        if with_qdrant:
            with _way_without_qdrant(request):
                require_qdrant(request.servers)
        remove_unfinished(destination, database)
        begun_at, name = _new_name(destination, database)
        log.info("Backup %s in %s.", name, destination.name)
        with _removed_on_error(destination, name):
            postgresql = None
            if request.only != "qdrant":
                postgresql = back_up_postgresql(destination, name, request.recipients, request.tables, report)
            qdrant = None
            if with_qdrant:
                with _way_without_qdrant(request):
                    qdrant = back_up_qdrant(destination, name, request.recipients, request.servers, report)
            ended_at = datetime.now(UTC)
            manifest = Manifest(
                kind=KIND,
                format=FORMAT,
                name=name,
                app_version=__version__,
                begun_at=begun_at,
                ended_at=ended_at,
                reaches_back_seconds=max(
                    (ended_at - part.snapshot_at).total_seconds() for part in (postgresql, qdrant) if part is not None
                ),
                database=database,
                is_encrypted=bool(request.recipients),
                only=request.only,
                tables=request.tables,
                postgresql=postgresql,
                qdrant=qdrant,
                without_qdrant=without_qdrant,
            )
            if not destination.create(name, MANIFEST, signed(manifest, key)):
                raise UserFacingError(
                    f"Another program has written a manifest for {name!r}: the backup was removed. Run the command again."
                )
        list_recorded(destination, verifying_keys())
    return manifest


def remove_unfinished(destination: Destination, database: Database) -> list[str]:
    """Remove the backups of the database that have no manifest, and return their names. Uploads that were not ended are aborted.

    The caller holds ``backup_lock``, so no process is still making one of them.
    """
    ending = f"-{_tag(database)}"
    destination.remove_unfinished(None, ending)
    unfinished = [name for name in destination.names() if name.endswith(ending) and MANIFEST not in destination.files(name)]
    for name in unfinished:
        log.info("Removing %s, which a run that was ended has left without a manifest.", name)
        destination.delete(name)
    return unfinished


def _new_name(destination: Destination, database: Database) -> tuple[datetime, str]:
    """Return the time, in UTC, and a name that begins with it. Two backups of one second would have one name."""
    while True:
        now = datetime.now(UTC)
        name = f"{now:%Y%m%dT%H%M%SZ}-{_tag(database)}"
        if name not in destination.names():
            return now, name
        time.sleep(0.2)


def _tag(database: Database) -> str:
    """Return the end of the names of this database's backups."""
    return hashlib.sha256(database.identity.encode()).hexdigest()[:8]


@contextmanager
def _removed_on_error(destination: Destination, name: str) -> Iterator[None]:
    try:
        yield
    except BaseException:
        # What cannot be removed now is removed by the next run.
        with suppress(UserFacingError):
            destination.delete(name)
        raise


@contextmanager
def _way_without_qdrant(request: Request) -> Iterator[None]:
    """Add to an error of Qdrant that PostgreSQL can be backed up without it."""
    try:
        yield
    except StoreUnavailable as error:
        if request.only:
            raise
        raise StoreUnavailable(
            f"{error} No backup was made. --only postgres makes one without Qdrant, which can be built again."
        ) from error
