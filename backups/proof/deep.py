"""Prove that a backup is good: restore it into a scratch database and a collection of its own, compare both, and drop them.

The live database and the live collection are only read, but for the row of the run.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, connection
from django.db.backends.base.base import BaseDatabaseWrapper

from backups.apart.run import run_apart
from backups.checks import require_known_migrations, require_snapshot_version
from backups.contents import StoredBackup, described_database, extract_snapshots, require_equal_digests, restore_dump
from backups.destinations.destination import Destination
from backups.listing import manifest_in
from backups.manifest import Database, Manifest, PostgresqlPart
from backups.postgres import database_of
from backups.postgresql.cluster import missing_roles
from backups.postgresql.scratch import drop_abandoned_databases, scratch_database
from backups.proof.amcheck import check_pages
from backups.proof.collections import delete_abandoned_collections, delete_collections_of, scratch_alias
from backups.proof.constraints import validate_constraints
from backups.proof.folder import delete_abandoned_folders, private_folder
from backups.proof.runs import Run, end_killed_runs
from backups.proof.steps import prove
from backups.proof.target import reason_without_owners, require_scratch
from backups.qdrant import Servers
from backups.streams.keys import Identity
from backups.verify import verify_backup
from findme.core.commands.progress import Report, ignore_progress
from findme.core.db.advisory_lock import AdvisoryLock, describe_holder, lock_session
from findme.core.errors import UserFacingError
from findme.core.plurals import counted
from vectorstore.qdrant.connection import is_embedded, qdrant
from vectorstore.snapshots.nodes import every_node

if TYPE_CHECKING:
    from privacy.ledger.signing import VerifyingKeys

LOCK_KEY = int.from_bytes(b"proof", "big")

log = logging.getLogger("findme.backups")


@dataclass(frozen=True, slots=True)
class Proof:
    """What a deep verification without an error has compared.

    ``applied_migrations`` were missing in the backup. ``not_validated`` are constraints that the dump calls NOT VALID: they hold. ``without_owners`` and
    ``without_page_check`` say why owners and grants were not restored, and why ``pg_amcheck`` did not run; they are empty if it was done.
    ``points`` of the new collection are equal to PostgreSQL. Of the snapshot's, ``removed`` differed, and ``written`` were added. ``restore_seconds`` is the time
    until both stores were restored and equal.
    """

    tables: int
    rows: int
    applied_migrations: tuple[str, ...]
    constraints: int
    not_validated: tuple[str, ...]
    without_owners: str
    without_page_check: str
    is_from_snapshot: bool
    points: int
    removed: int
    written: int
    unique_vectors: int
    recall: float | None
    restore_seconds: float
    seconds: float


def verify_deep(
    destination: Destination,
    name: str,
    keys: VerifyingKeys,
    identities: Sequence[Identity],
    servers: Servers,
    *,
    is_other_database: bool = False,
    report: Report = ignore_progress,
) -> tuple[Manifest, Proof]:
    """Restore the backup apart from the live stores, compare it, drop what was restored, and record the run.

    What a killed run has left is dropped first. With ``is_other_database`` the backup may be of another database than the one of DATABASE_URL. Raise UserFacingError and
    StoreUnavailable: the backup is not proven, and nothing is left.
    """
    with _only_run():
        drop_leftovers(servers.urls)
        manifest = manifest_in(destination, name, keys)
        part = _require_provable(manifest, identities, servers, is_other_database=is_other_database)
        run = Run.begin(destination, manifest)
        try:
            verify_backup(destination, name, keys, identities, report)
            backup = StoredBackup(destination, name, identities)
            proof = _restored(backup, manifest, part, servers, run, report)
            run.end(proof)
        except BaseException as error:
            with suppress(DatabaseError):
                run.fail(error)
            raise
    return manifest, proof


def drop_leftovers(nodes: Sequence[str]) -> None:
    """Drop what killed runs have left: databases first, which ends their sessions, then folders and collections."""
    for database in drop_abandoned_databases(connection):
        log.info("Dropped the database %s, which a killed run has left.", database)
    for folder in delete_abandoned_folders():
        log.info("Deleted the folder %s, which a killed run has left.", folder)
    for collection in delete_abandoned_collections(connection, database_of(connection), nodes):
        log.info("Deleted the collection %s, which a killed run has left.", collection)
    end_killed_runs()


@contextmanager
def _only_run() -> Iterator[None]:
    """Let one run of this database at a time fill disks."""
    with lock_session("proof") as session:
        lock = AdvisoryLock(session, LOCK_KEY)
        with lock.held(
            0,
            lambda: UserFacingError(
                f"Another process verifies a backup of this database deeply ({describe_holder(lock)}): nothing was done. Wait until it ends, then run"
                " this command again."
            ),
        ):
            yield


def _require_provable(manifest: Manifest, identities: Sequence[Identity], servers: Servers, *, is_other_database: bool) -> PostgresqlPart:
    """Return the part of PostgreSQL. Raise UserFacingError if this backup cannot be restored here, and StoreUnavailable."""
    part = manifest.postgresql
    if part is None or manifest.tables:
        raise UserFacingError(
            f"{manifest.name!r} does not have all of PostgreSQL, so it cannot be restored by itself: nothing was done. Name a backup without --tables"
            " and --only qdrant."
        )
    here = database_of(connection)
    if manifest.database.identity != here.identity and not is_other_database:
        raise UserFacingError(
            f"{manifest.name!r} is a backup of another database, {manifest.database.name!r} of the server {manifest.database.system_identifier}: nothing was"
            " done. Check DATABASE_URL, or add --other-database."
        )
    require_known_migrations(manifest, part)
    if manifest.is_encrypted and not identities:
        raise UserFacingError(
            f"{manifest.name!r} is encrypted: nothing was done. Name the file with the key of one of its recipients with --identity."
        )
    _require_qdrant(manifest, servers)
    return part


def _require_qdrant(manifest: Manifest, servers: Servers) -> None:
    """Raise if the server does not answer, or cannot take the snapshot: it may be one minor version older than the server."""
    if is_embedded():
        return
    if manifest.qdrant is not None:
        require_snapshot_version(manifest.qdrant, servers.urls)
        return
    with qdrant() as client:
        every_node(client, servers.urls)


def _restored(backup: StoredBackup, manifest: Manifest, part: PostgresqlPart, servers: Servers, run: Run, report: Report) -> Proof:
    description = described_database(backup, part)
    with scratch_database(connection, description, "proof") as scratch:
        target = require_scratch(connection, scratch)
        without_owners = reason_without_owners(connection, description, missing_roles(description, connection))
        log.info("Restoring PostgreSQL into %s.", target.name)
        restore_dump(backup, part, scratch, with_owners=not without_owners, report=report)
        require_equal_digests(part, scratch)
        rows = sum(table.rows for table in part.tables.values())
        log.info("%s of %s are as in the manifest.", counted(rows, "row"), counted(len(part.tables), "table"))
        found = _vector_store(backup, manifest, target, scratch, servers, report)
        restore_seconds = run.seconds
        constraints, not_validated = validate_constraints(scratch)
        without_page_check = check_pages(scratch)
        return Proof(
            tables=len(part.tables),
            rows=rows,
            applied_migrations=tuple(found.pop("applied_migrations")),
            constraints=constraints,
            not_validated=tuple(not_validated),
            without_owners=without_owners,
            without_page_check=without_page_check,
            **found,
            restore_seconds=round(restore_seconds, 3),
            seconds=round(run.seconds, 3),
        )


def _vector_store(
    backup: StoredBackup, manifest: Manifest, target: Database, scratch: BaseDatabaseWrapper, servers: Servers, report: Report
) -> dict[str, Any]:
    """Restore the snapshots, or without them build the points from PostgreSQL, in another process. The collection is deleted afterwards."""
    alias = scratch_alias(target)
    part = None if is_embedded() else manifest.qdrant
    size = 0 if part is None else sum(node.file.plain_size for node in part.nodes)
    with private_folder(size) as folder, _deleted_afterwards(alias, servers.urls):
        paths: tuple[Path, ...] = () if part is None else extract_snapshots(backup, part, folder, report)
        changed = {"QDRANT_COLLECTION": alias} | ({"QDRANT_PATH": str(folder / "qdrant")} if is_embedded() else {})
        arguments = {
            "database": asdict(target),
            "snapshots": list(map(str, paths)),
            "nodes": list(servers.urls),
            "seconds": servers.seconds,
        }
        found = run_apart(prove, scratch, arguments, changed=changed, report=report)
    return {"is_from_snapshot": bool(paths), **found}


@contextmanager
def _deleted_afterwards(alias: str, nodes: Sequence[str]) -> Iterator[None]:
    try:
        yield
    except BaseException:
        # The first error says more. The next run deletes what remains.
        with suppress(UserFacingError):
            delete_collections_of(alias, nodes)
        raise
    delete_collections_of(alias, nodes)
