"""Restore a backup next to the live stores, prove it, and let it take their place.

Until the switch, the live database and the live collection are only read. A restore that is killed is finished or undone by the next one (``backups.restoring.journal``).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from django.conf import settings
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper

from backups.apart.run import Apart
from backups.lock import backup_lock
from backups.postgresql.scratch import drop_abandoned_databases, scratch_database
from backups.qdrant import Servers
from backups.restoring.collection import NewCollection
from backups.restoring.journal import Entry, Journal, open_journal
from backups.restoring.maintenance import find, maintenance_session, name_of
from backups.restoring.prepare import make_fit
from backups.restoring.rights import require_rights
from backups.restoring.sources import Fetched, Filled, Source
from backups.restoring.switch import begin, note_scratch, recover, switch
from backups.restoring.switched_stores import SwitchedQdrant, UnchangedQdrant
from backups.restoring.tables import TableResult, bring_back
from backups.restoring.target import require_empty, require_ledger, uses_snapshots
from findme.core.commands.progress import Report, ignore_progress
from findme.core.db.advisory_lock import AdvisoryLock, lock_session
from findme.core.errors import UserFacingError, one_line
from vectorstore.catalog.alias import alias_target
from vectorstore.catalog.lock import lock_key
from vectorstore.qdrant.connection import qdrant

Only = Literal["", "postgres"]

NOT_FIT: dict[str, Any] = {"ended": [], "is_replayed": False, "repeated": {}, "rectifications": []}
"""What ``make_fit`` returns if nothing was done."""

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

    ``taken_at`` and ``rows`` are None for a dump without a manifest. ``repeated`` are the actions since the backup that were repeated, by kind, None without a ledger outside. ``rectifications`` are users whose data must be
    corrected again. The times are in seconds, for the database, for the collection and for everything.
    """

    backup: str
    taken_at: datetime | None
    database: str
    old_database: str | None
    rows: int | None
    ended: tuple[str, ...]
    repeated: dict[str, int] | None
    rectifications: tuple[str, ...]
    collection: RestoredPoints | None
    postgresql_seconds: float
    qdrant_seconds: float
    seconds: float


def restore_source(source: Source, request: Request, report: Report = ignore_progress) -> Restored:
    """Restore the source and return what was done. An interrupted restore is finished or undone first.

    Raises UserFacingError and StoreUnavailable. Then nothing that serves was changed, unless the text says so.
    """
    begun = time.monotonic()
    with open_journal() as journal:
        continue_interrupted(journal, request.target)
        require_restorable(source, request)
        with _locks(request.target) as locks:
            begin(journal, request.target, source.name)
            with _undone_on_error(journal, request.target):
                done = _Restore(source, request, journal, locks, report).run(begun)
        if request.with_qdrant:
            _record(source)
    return done


def _record(source: Source) -> None:
    try:
        source.record()
    except UserFacingError as error:
        log.warning("The destination was not listed, so the table of backups lacks it: run manage.py list_backups. %s", one_line(error))


def restore_tables(
    source: Source, tables: Sequence[str], request: Request, *, dry_run: bool, report: Report = ignore_progress
) -> list[TableResult]:
    """Bring back the rows of ``tables`` that the live database lacks, and return what was done with each table. No other row is changed.

    With ``dry_run`` only the scratch database is made, and dropped again. Raises UserFacingError and StoreUnavailable.
    """
    with open_journal() as journal:
        continue_interrupted(journal, request.target)
        with maintenance_session(request.target, name_of(request.target)) as session:
            source.require_restorable(session)
        with _locks(request.target):
            begin(journal, request.target, source.name)
            with _undone_on_error(journal, request.target):
                with _scratch(source, request, journal, report, with_owners=False, with_qdrant=False) as (scratch, fetched):
                    _fill(source, request, scratch, fetched, report, with_owners=False)
                    found = bring_back(scratch, request.target, tables, dry_run=dry_run, report=report)
                journal.end()
    return found


def check_restore(source: Source, request: Request) -> None:
    """Check all that can be checked without a change, but for the bytes of the source. Raises as ``restore_source`` does."""
    with open_journal() as journal:
        if journal.entry is not None:
            raise UserFacingError(f"Nothing was checked: {journal.entry} was interrupted. The next restore without --dry-run ends it.")
        require_restorable(source, request)


def end_interrupted(target: BaseDatabaseWrapper) -> None:
    """Finish or undo what an interrupted restore has left, whatever the next one restores."""
    with open_journal() as journal:
        continue_interrupted(journal, target)


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


def require_restorable(source: Source, request: Request) -> None:
    """Raise UserFacingError or StoreUnavailable for what would prevent the restore, before it begins."""
    require_ledger()
    live_name = name_of(request.target)
    require_rights(request.target, live_name)
    with maintenance_session(request.target, live_name) as session:
        source.require_restorable(session)
    if not request.force and exists(request.target):
        with closing(request.target.copy()) as live:
            require_empty(live)
    if request.with_qdrant and uses_snapshots(source, request.only):
        source.require_snapshots(request.servers.urls)
    elif request.with_qdrant:
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
def _undone_on_error(journal: Journal, target: BaseDatabaseWrapper) -> Iterator[None]:
    """Undo the restore after an exception. If that fails too, the journal has what is left, and the next run does it."""
    try:
        yield
    except BaseException:
        with suppress(Exception):
            continue_interrupted(journal, target)
        raise


@contextmanager
def _scratch(
    source: Source, request: Request, journal: Journal, report: Report, *, with_owners: bool, with_qdrant: bool
) -> Iterator[tuple[BaseDatabaseWrapper, Fetched]]:
    """Fetch the files of the source, and yield them with the connection of an empty scratch database.

    The database is dropped after the block, unless the block has renamed it.
    """
    target, name = request.target, name_of(request.target)
    with (
        journal.temporary_folder(request.folder or journal.path.parent) as folder,
        maintenance_session(target, name) as session,
    ):
        drop_abandoned_databases(session, of=name)
        fetched = source.fetch(session, folder, with_owners=with_owners, with_qdrant=with_qdrant, report=report)
        if with_owners:
            require_rights(target, name, fetched.description.owner)
        with scratch_database(session, fetched.description, "restore", of=name) as scratch:
            note_scratch(journal, scratch)
            yield scratch, fetched


def _fill(source: Source, request: Request, scratch: BaseDatabaseWrapper, fetched: Fetched, report: Report, *, with_owners: bool) -> Filled:
    filled = source.fill(scratch, fetched, jobs=request.jobs, with_owners=with_owners, report=report)
    for sentence in filled.sentences:
        log.info("PostgreSQL is restored in a scratch database: %s", sentence)
    return filled


class _Restore:
    """One restore, from the files of the backup to the switch."""

    def __init__(self, source: Source, request: Request, journal: Journal, locks: ExitStack, report: Report) -> None:
        self.source = source
        self.request = request
        self.journal = journal
        self.locks = locks
        self.report = report
        self.uses_snapshots = request.with_qdrant and uses_snapshots(source, request.only)

    def run(self, begun: float) -> Restored:
        request, with_qdrant = self.request, self.request.with_qdrant
        at = time.monotonic()
        with _scratch(
            self.source, request, self.journal, self.report, with_owners=request.with_owners, with_qdrant=self.uses_snapshots
        ) as (scratch, fetched):
            with (
                Apart(scratch, make_fit.__module__, changed=self.empty_store()) as fitting,
                self.collection(scratch, fetched) as collection,
            ):
                filled = _fill(self.source, request, scratch, fetched, self.report, with_owners=request.with_owners)
                # A copy with the tables of the guide stays as it is, so that its rows can be corrected.
                fit = NOT_FIT if filled.is_of_the_guide and not with_qdrant else self.make_fit(fitting, filled)
                between = time.monotonic()
                made = None if collection is None else self.make_collection(collection)
            end = time.monotonic()
            scratch.close()
            self.locks.close()
            old_collection = self.journal.current().old_collection
            old_database = switch(self.journal, request.target, SwitchedQdrant() if with_qdrant else UnchangedQdrant())
        return Restored(
            backup=self.source.name,
            taken_at=self.source.taken_at,
            database=name_of(request.target),
            old_database=old_database,
            rows=filled.rows,
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

    def empty_store(self) -> dict[str, str]:
        """Return the settings of an embedded Qdrant without collections, for the process that makes the database fit: nothing in it can reach the live ones."""
        return {"QDRANT_URL": "", "QDRANT_API_KEY": "", "QDRANT_PATH": f"{self.journal.current().folders[-1]}/qdrant"}

    def make_fit(self, process: Apart, filled: Filled) -> dict[str, Any]:
        """Make the scratch database fit to serve, and return what was done."""
        fit = process.call(make_fit, {"new_id": not self.request.with_qdrant, "is_of_the_guide": filled.is_of_the_guide})
        for sentence in fit["ended"]:
            log.info("%s", sentence)
        return fit

    def collection(self, scratch: BaseDatabaseWrapper, fetched: Fetched) -> AbstractContextManager[NewCollection | None]:
        if not self.request.with_qdrant:
            return nullcontext()
        servers = self.request.servers
        return NewCollection(scratch, self.journal, fetched.snapshots, servers.urls, servers.seconds)

    def make_collection(self, collection: NewCollection) -> dict[str, Any]:
        request = self.request
        return collection.make(
            min_recall=request.min_recall, discard_vectors=request.discard_vectors, timeout=request.timeout, report=self.report
        )
