"""One look at each store. Neither starts an embedded server where DEBUG is off, nor opens the folder of the embedded Qdrant."""

from __future__ import annotations

import logging
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, InterfaceError, connection

from findme.core.errors import UserFacingError
from findme.migrator.version import MigrationFiles, read_migration_files, schema_version
from findme.web.health.report import PostgresqlReport, Status, Sync
from vectorstore.catalog.alias import live_collection
from vectorstore.qdrant.connection import is_embedded, qdrant
from vectorstore.status import queue_status

log = logging.getLogger(__name__)

UNREACHABLE = (DatabaseError, InterfaceError, ImproperlyConfigured, UserFacingError, OSError)


def probe_postgresql() -> PostgresqlReport:
    """Use a connection of its own: the thread that calls it has no other work."""
    try:
        return _of_the_schema()
    except UNREACHABLE as error:
        log.info("PostgreSQL is unavailable for /readyz: %s", type(error).__name__)
        return PostgresqlReport(Status.UNAVAILABLE)
    finally:
        connection.close()


def _of_the_schema() -> PostgresqlReport:
    """Migrations that only the database has are those of a newer release that is being rolled out."""
    schema = schema_version(files=_migration_files())
    unapplied, broken = len(schema.unapplied), len(schema.problems)
    return PostgresqlReport(
        postgresql=Status.OK,
        migrations=Status.BEHIND if unapplied else Status.OK,
        triggers=Status.UNKNOWN if unapplied else Status.BROKEN if broken else Status.OK,
        unapplied_migrations=unapplied,
        schema_problems=None if unapplied else broken,
        sync=None if unapplied else _sync(),
    )


_files: MigrationFiles | None = None


def _migration_files() -> MigrationFiles:
    """Read them once: four fifths of the function calls of a check were for the graph of the migrations."""
    global _files  # those of this process
    if _files is None or _files.are_replaced:
        _files = read_migration_files()
    return _files


def _sync() -> Sync:
    found = queue_status()
    return Sync(found.oldest_seconds, found.queued.count, found.quarantined.count, found.workers)


def probe_qdrant() -> Status:
    if is_embedded():
        # Opening it would lock it for the process that works with it.
        return Status.OK if Path(settings.QDRANT_PATH).is_dir() else Status.UNAVAILABLE
    try:
        with qdrant() as client:
            live_collection(client)
    except UNREACHABLE as error:
        log.info("Qdrant is unavailable for /readyz: %s", type(error).__name__)
        return Status.UNAVAILABLE
    return Status.OK
