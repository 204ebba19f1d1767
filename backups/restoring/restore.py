"""Restore a backup beside the live stores, prove it, and let it take their place.

Until the switch, the live database and the live collection are only read. A restore that is killed is finished or undone by the next one (``backups.restoring.journal``).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from django.conf import settings
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper

from backups.apart.run import run_apart
from backups.checks import require_known_migrations, require_snapshot_version
from backups.contents import StoredBackup
from backups.destinations.destination import Destination
from backups.listing import manifest_in
from backups.lock import backup_lock
from backups.manifest import Manifest
from backups.postgresql.restore import restore_program
from backups.postgresql.scratch import drop_abandoned_databases, scratch_database
from backups.qdrant import Servers
from backups.restoring.files import Fetched, fetch
from backups.restoring.journal import Entry, Journal, open_journal
from backups.restoring.maintenance import find, maintenance_session, name_of
from backups.restoring.prepare import make_collection, make_fit
from backups.restoring.rights import require_rights
from backups.restoring.scratch_contents import fill, require_roles
from backups.restoring.switch import begin, note_scratch, recover, switch
from backups.restoring.switched_stores import SwitchedQdrant, UnchangedQdrant
from backups.restoring.target import require_empty, require_ledger, uses_snapshots
from backups.streams.keys import Identity
from backups.verify import verify_backup
from findme.core.commands.progress import Report, ignore_progress
from findme.core.db.advisory_lock import AdvisoryLock, lock_session
from findme.core.errors import UserFacingError
from vectorstore.catalog.alias import alias_target
from vectorstore.catalog.lock import lock_key
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.snapshots.aside import next_name

if TYPE_CHECKING:
    from privacy.ledger.signing import VerifyingKeys

Only = Literal["", "postgres"]

log = logging.getLogger("findme.backups")


@dataclass(frozen=True, slots=True)
class Request:
    """How to restore. ``only`` "postgres" builds the collection from PostgreSQL instead of taking the snapshot.

    ``target`` is a connection to the database that is replaced or created. ``with_qdrant`` is false for a database that is not Django's default one:
    its copy gets an id of its own, and no collection.

    ``jobs`` sessions restore the dump. ``force`` replaces a database that is not empty. Without ``with_owners`` all belongs to the role of the
    connection. The other fields are those of ``vectorstore.snapshots.restore.restore``. ``folder`` is for the decrypted files.
    """

    target: BaseDatabaseWrapper
    with_qdrant: bool
    only: Only
    jobs: int
    identities: Sequence[Identity]
    force: bool
    with_owners: bool
    servers: Servers
    min_recall: float | None
    discard_vectors: int
    timeout: float
    folder: Path | None


@dataclass(frozen=True, slots=True)
class RestoredPoints:
    """The collection that is live now. ``old_name`` is the one that was, None if there was none.

    All ``points`` were compared with PostgreSQL. ``removed`` points of a snapshot differed, and ``written`` are new.
    """

    name: str
    old_name: str | None
    is_from_snapshot: bool
    points: int
    removed: int
    written: int


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore has done. ``old_database`` is the new name of the database that was replaced, None if there was none.

    ``repeated`` are the actions since the backup that were repeated, by kind, None without a ledger outside. ``rectifications`` are users whose data must be
    corrected again. The times are in seconds, for the database, for the collection and for everything.
    """

    backup: str
    taken_at: datetime
    database: str
    old_database: str | None
    rows: int
    ended: tuple[str, ...]
    repeated: dict[str, int] | None
    rectifications: tuple[str, ...]
    collection: RestoredPoints | None
    postgresql_seconds: float
    qdrant_seconds: float
    seconds: float


def restore_backup(
    destination: Destination, name: str, keys: VerifyingKeys, request: Request, report: Report = ignore_progress
) -> Restored:
    """Restore the backup ``name`` and return what was done. An interrupted restore is finished or undone first.

    Raises UserFacingError and StoreUnavailable. Then nothing that serves was changed, unless the text says so.
    """
    begun = time.monotonic()
    with open_journal() as journal:
        continue_interrupted(journal, request.target)
        manifest = manifest_in(destination, name, keys)
        require_restorable(manifest, request)
        with _locks(request.target) as locks:
            begin(journal, request.target, name)
            with _undone_on_error(journal, request):
                return _Restore(manifest, request, journal, locks, report).run(destination, begun)


def check_restore(destination: Destination, name: str, keys: VerifyingKeys, request: Request, report: Report = ignore_progress) -> Manifest:
    """Check all that can be checked without a change: every byte of the backup, the rights, the versions, the target. Raises as ``restore_backup`` does."""
    with open_journal() as journal:
        if journal.entry is not None:
            raise UserFacingError(f"Nothing was checked: {journal.entry} was interrupted. The next restore without --dry-run ends it.")
        manifest = verify_backup(destination, name, keys, request.identities, report).manifest
        require_restorable(manifest, request)
    return manifest


def continue_interrupted(journal: Journal, target: BaseDatabaseWrapper) -> None:
    """Finish or undo what an interrupted restore has left, and log which. Raises UserFacingError if it was one of another database or collection."""
    if journal.entry is not None and (sentence := recover(journal, target, _stores_of(journal.entry))) is not None:
        log.info("%s", sentence)


def _stores_of(entry: Entry) -> SwitchedQdrant:
    """Return what ends the restore of the entry in Qdrant."""
    if entry.alias is None:
        return UnchangedQdrant()
    if (found := name_of(connection)) != entry.live_name:
        raise UserFacingError(
            f"{entry} was interrupted in the database {entry.live_name!r}, and DATABASE_URL names {found!r}: nothing was changed. Set DATABASE_URL to"
            " that database, then run the command again."
        )
    return SwitchedQdrant()


def require_restorable(manifest: Manifest, request: Request) -> None:
    """Raise UserFacingError or StoreUnavailable for what would prevent the restore, before it begins."""
    if manifest.postgresql is None:
        raise UserFacingError(f"{manifest.name!r} has no part of PostgreSQL: nothing was restored. --only qdrant restores its snapshot.")
    if manifest.tables:
        raise UserFacingError(
            f"{manifest.name!r} has some tables only: nothing was restored. --tables brings back the rows of these that are missing."
        )
    require_known_migrations(manifest, manifest.postgresql)
    require_ledger()
    live_name = name_of(request.target)
    require_rights(request.target, live_name)
    with maintenance_session(request.target, live_name) as session:
        restore_program(session, manifest.postgresql.dump_major)
    if not request.force and exists(request.target):
        with closing(request.target.copy()) as live:
            require_empty(live)
    if not request.with_qdrant:
        return
    if uses_snapshots(manifest, request.only):
        assert manifest.qdrant is not None
        require_snapshot_version(manifest.qdrant, request.servers.urls)
    else:
        with qdrant() as client:
            alias_target(client)  # raises StoreUnavailable


def exists(target: BaseDatabaseWrapper) -> bool:
    """Return whether the database of ``target`` exists."""
    name = name_of(target)
    with maintenance_session(target, name) as session:
        return find(session, name) is not None


@contextmanager
def _locks(target: BaseDatabaseWrapper) -> Iterator[ExitStack]:
    """Hold the locks of the live database: no backup is made or removed, and no collection is made or moved. They can be released before the end.

    A database that does not exist has none, and one that is not Django's is not theirs.
    """
    with ExitStack() as locks:
        if target is connection and exists(target):
            locks.enter_context(backup_lock("restore"))
            lock = AdvisoryLock(locks.enter_context(lock_session("restore")), lock_key())
            seconds = settings.MIGRATE_WAIT_SECONDS

            def busy() -> UserFacingError:
                return UserFacingError(
                    f"Another process has been changing the collections for {seconds:g} s: wait for it, then run it again."
                )

            locks.enter_context(lock.held(seconds, busy))
        yield locks


@contextmanager
def _undone_on_error(journal: Journal, request: Request) -> Iterator[None]:
    """Undo the restore after an exception. If that fails too, the journal has what is left, and the next run does it."""
    try:
        yield
    except BaseException:
        with suppress(Exception):
            continue_interrupted(journal, request.target)
        raise


class _Restore:
    """One restore, from the files of the backup to the switch."""

    def __init__(self, manifest: Manifest, request: Request, journal: Journal, locks: ExitStack, report: Report) -> None:
        assert manifest.postgresql is not None
        self.manifest = manifest
        self.postgresql = manifest.postgresql
        self.request = request
        self.journal = journal
        self.locks = locks
        self.report = report
        self.uses_snapshots = request.with_qdrant and uses_snapshots(manifest, request.only)

    def run(self, destination: Destination, begun: float) -> Restored:
        target, parent = self.request.target, self.request.folder or self.journal.path.parent
        with self.journal.temporary_folder(parent) as folder:
            stored = StoredBackup(destination, self.manifest.name, self.request.identities)
            fetched = fetch(stored, self.manifest, folder, with_qdrant=self.uses_snapshots, report=self.report)
            log.info("Every checksum of %s is as in its manifest.", self.manifest.name)
            with maintenance_session(target, name_of(target)) as session:
                drop_abandoned_databases(session, of=name_of(target))
                if self.request.with_owners:
                    require_roles(session, fetched.description)
                    require_rights(target, name_of(target), fetched.description.owner)
                at = time.monotonic()
                with scratch_database(session, fetched.description, "restore", of=name_of(target)) as scratch:
                    fit = self.fill(scratch, fetched, folder)
                    between = time.monotonic()
                    made = self.make_collection(scratch, fetched) if self.request.with_qdrant else None
                    end = time.monotonic()
                    scratch.close()
                    self.locks.close()
                    old_collection = self.journal.current().old_collection
                    old_database = switch(self.journal, target, SwitchedQdrant() if made else UnchangedQdrant())
        return Restored(
            backup=self.manifest.name,
            taken_at=self.postgresql.snapshot_at,
            database=name_of(target),
            old_database=old_database,
            rows=self.postgresql.rows,
            ended=tuple(fit["ended"]),
            repeated=fit["repeated"] if fit["is_replayed"] else None,
            rectifications=tuple(fit["rectifications"]),
            collection=None
            if made is None
            else RestoredPoints(
                name=made["acceptance"]["collection"],
                old_name=old_collection,
                is_from_snapshot=self.uses_snapshots,
                points=made["acceptance"]["points"],
                removed=made["removed"],
                written=made["written"],
            ),
            postgresql_seconds=between - at,
            qdrant_seconds=end - between,
            seconds=time.monotonic() - begun,
        )

    def fill(self, scratch: BaseDatabaseWrapper, fetched: Fetched, folder: Path) -> dict[str, Any]:
        """Restore PostgreSQL and make it fit to serve. Return what ``make_fit`` has done."""
        note_scratch(self.journal, scratch)
        jobs, with_owners = self.request.jobs, self.request.with_owners
        fill(scratch, self.postgresql, fetched.dump, fetched.description, jobs=jobs, with_owners=with_owners)
        log.info(
            "PostgreSQL is restored in a scratch database: %s rows, each table with the digest of the manifest.",
            f"{self.postgresql.rows:,}",
        )
        # Nothing in the restored database may reach the live collection.
        changed = {"QDRANT_URL": "", "QDRANT_API_KEY": "", "QDRANT_PATH": str(folder / "qdrant")}
        fit = run_apart(make_fit, scratch, {"new_id": not self.request.with_qdrant}, changed=changed)
        for sentence in fit["ended"]:
            log.info("%s", sentence)
        return fit

    def make_collection(self, scratch: BaseDatabaseWrapper, fetched: Fetched) -> dict[str, Any]:
        """Make the collection of the restored database, and compare every point with it. Return what ``make_collection`` has done."""
        with qdrant() as client:
            name, before = next_name(client), alias_target(client)
        self.journal.note(alias=collection_name(), old_collection=before, new_collection=name)
        arguments = {
            "name": name,
            "snapshots": [str(path) for path in fetched.snapshots],
            "nodes": list(self.request.servers.urls),
            "min_recall": self.request.min_recall,
            "discard_vectors": self.request.discard_vectors,
            "seconds": self.request.servers.seconds,
            "timeout": self.request.timeout,
        }
        made = run_apart(make_collection, scratch, arguments, report=self.report)
        log.info("Every point of %s was compared with the restored PostgreSQL: no difference.", name)
        return made
