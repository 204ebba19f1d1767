"""The part of a backup that PostgreSQL has: the dump, what a dump leaves out, and the figures to compare a restore with. All is of one snapshot."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper

from backups.destinations.destination import Destination
from backups.manifest import Database, LedgerHead, PostgresqlPart, Table
from backups.postgresql.cluster import describe_database
from backups.postgresql.digests import TableDigest, table_digests
from backups.postgresql.dump import dump, dump_program
from backups.postgresql.snapshot import Snapshot, exported_snapshot
from backups.postgresql.tables import Table as DumpedTable
from backups.postgresql.tables import dumped_tables, named_tables
from backups.stored_files import write_file
from backups.streams.keys import Recipient
from findme.core.commands.progress import Report
from findme.migrator.lock import migration_lock
from privacy.ledger.entry import FIRST_PREVIOUS

CANCEL_SECONDS = 5.0
"""How long PostgreSQL may take to cancel the query of the digests."""
IDENTITY = "SELECT current_database(), (SELECT oid FROM pg_database WHERE datname = current_database()), (SELECT system_identifier FROM pg_control_system())"
MIGRATIONS = "SELECT app || '.' || name FROM django_migrations ORDER BY id"
HEAD = """
    SELECT position, encode(digest, 'hex') FROM (
        SELECT position, digest FROM erasure_ledger UNION ALL SELECT position, digest FROM ledger_checkpoints
    ) AS entries ORDER BY position DESC LIMIT 1
"""


def database_of(session: BaseDatabaseWrapper) -> Database:
    with session.cursor() as cursor:
        cursor.execute(IDENTITY)
        name, oid, system_identifier = cursor.fetchone()
    return Database(name=name, oid=oid, system_identifier=str(system_identifier))


def back_up_postgresql(
    destination: Destination, backup: str, recipients: Sequence[Recipient], tables: Sequence[str], report: Report
) -> PostgresqlPart:
    """Write the dump, and what it leaves out, to the backup. No migration runs meanwhile, and no writer waits.

    ``tables`` are names, empty for all tables. Raise UserFacingError and StoreUnavailable.
    """
    with migration_lock("backup"), exported_snapshot(connection) as snapshot:
        dumped = named_tables(snapshot.connection, tables) if tables else dumped_tables(snapshot.connection)
        description = json.dumps(describe_database(snapshot.connection).as_json(), ensure_ascii=False, indent=2).encode()
        cluster = write_file(destination, backup, "cluster.json", io.BytesIO(description), recipients)
        migrations, ledger = _migrations(snapshot), _ledger_head(snapshot)
        server_version = snapshot.connection.connection.info.parameter_status("server_version")
        with _computed_meanwhile(snapshot, dumped) as digests, dump(snapshot, dumped if tables else ()) as stream:
            dump_file = write_file(destination, backup, "postgresql.dump", stream, recipients, report)
        return PostgresqlPart(
            server_version=server_version.split()[0],
            dump_version=dump_program(snapshot).version,
            snapshot_at=snapshot.taken_at,
            migrations=migrations,
            tables={name: Table(rows=one.rows, digest=one.digest) for name, one in digests().items()},
            ledger=ledger,
            dump=dump_file,
            cluster=cluster,
        )


@contextmanager
def _computed_meanwhile(snapshot: Snapshot, tables: Sequence[DumpedTable]) -> Iterator[Callable[[], dict[str, TableDigest]]]:
    """Compute the digests in a thread during the block. What is yielded waits for them, and returns or raises.

    After an exception in the block, PostgreSQL cancels the query, and the thread ends.
    """
    done: Future[dict[str, TableDigest]] = Future()

    def run() -> None:
        try:
            done.set_result(table_digests(snapshot.connection, tables))
        except BaseException as error:  # noqa: BLE001  # the caller raises it
            done.set_exception(error)

    snapshot.connection.inc_thread_sharing()
    thread = threading.Thread(target=run, name="digests", daemon=True)
    thread.start()
    try:
        yield done.result
        done.result()
    except BaseException:
        with suppress(Exception):  # the session may be lost
            snapshot.connection.connection.cancel_safe(timeout=CANCEL_SECONDS)
        raise
    finally:
        thread.join()
        snapshot.connection.dec_thread_sharing()


def _migrations(snapshot: Snapshot) -> tuple[str, ...]:
    return tuple(name for (name,) in _rows(snapshot, "django_migrations", MIGRATIONS))


def _ledger_head(snapshot: Snapshot) -> LedgerHead | None:
    """Return the last entry, position 0 without entries, or None before the migration that adds the ledger."""
    if not _exists(snapshot, "ledger_checkpoints"):
        return None
    found = _rows(snapshot, "erasure_ledger", HEAD)
    return LedgerHead(position=found[0][0], digest=found[0][1]) if found else LedgerHead(position=0, digest=FIRST_PREVIOUS.hex())


def _rows(snapshot: Snapshot, table: str, query: str) -> list[Any]:
    if not _exists(snapshot, table):
        return []
    with snapshot.connection.cursor() as cursor:
        cursor.execute(query)
        return list(cursor.fetchall())


def _exists(snapshot: Snapshot, table: str) -> bool:
    with snapshot.connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [table])
        return bool(cursor.fetchone()[0])
