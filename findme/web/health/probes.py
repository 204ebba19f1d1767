"""Probe each store once. No probe starts an embedded server while DEBUG is off, or opens the folder of the embedded Qdrant."""

from __future__ import annotations

import logging
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, InterfaceError, connection

from findme.core.errors import StoreUnavailable, UserFacingError
from findme.migrator.version import MigrationFiles, read_migration_files, schema_version
from findme.web.health.report import PostgresqlReport, Privacy, Status, Sync
from privacy.ledger.gate import compare_with_outside
from privacy.ledger.states import oldest_pending_seconds
from vectorstore.catalog.alias import live_collection
from vectorstore.qdrant.connection import is_embedded, qdrant
from vectorstore.status import queue_status

log = logging.getLogger(__name__)

UNREACHABLE = (DatabaseError, InterfaceError, ImproperlyConfigured, UserFacingError, OSError)


def probe_postgresql() -> PostgresqlReport:
    """Probe PostgreSQL over this thread's connection and close it. The thread does no other work."""
    try:
        return _probe_schema()
    except UNREACHABLE as error:
        log.info("PostgreSQL is unavailable for /readyz: %s", type(error).__name__)
        return PostgresqlReport(Status.UNAVAILABLE)
    finally:
        connection.close()


def _probe_schema() -> PostgresqlReport:
    """Report missing migrations. Migrations that only the database has are accepted: a newer release is being rolled out."""
    schema = schema_version(files=_migration_files())
    unapplied, broken = len(schema.unapplied), len(schema.problems)
    return PostgresqlReport(
        postgresql=Status.OK,
        migrations=Status.BEHIND if unapplied else Status.OK,
        triggers=Status.UNKNOWN if unapplied else Status.BROKEN if broken else Status.OK,
        unapplied_migrations=unapplied,
        schema_problems=None if unapplied else broken,
        sync=None if unapplied else _sync(),
        ledger=Status.UNKNOWN if unapplied else _ledger(),
        privacy=None if unapplied else Privacy(oldest_pending_seconds()),
    )


def _ledger() -> Status:
    try:
        compare_with_outside()
    except StoreUnavailable as error:
        log.info("The ledger outside is unavailable for /readyz: %s", type(error).__name__)
        return Status.UNAVAILABLE
    except UserFacingError as error:
        log.warning("The ledger is not that of the ledger outside: %s", error)
        return Status.RESTORED
    return Status.OK


_files: MigrationFiles | None = None


def _migration_files() -> MigrationFiles:
    """Return this process's migration files, read once: four fifths of a check's function calls were for the migration graph."""
    global _files
    if _files is None or _files.are_replaced:
        _files = read_migration_files()
    return _files


def _sync() -> Sync:
    found = queue_status()
    return Sync(found.oldest_seconds, found.queued.count, found.quarantined.count, found.workers)


def probe_qdrant() -> Status:
    if is_embedded():
        # Opening the folder would lock out the process that works with it.
        return Status.OK if Path(settings.QDRANT_PATH).is_dir() else Status.UNAVAILABLE
    try:
        with qdrant() as client:
            live_collection(client)
    except UNREACHABLE as error:
        log.info("Qdrant is unavailable for /readyz: %s", type(error).__name__)
        return Status.UNAVAILABLE
    return Status.OK
