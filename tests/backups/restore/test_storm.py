"""A backup in a storm of writes and erasures, with workers: what it brings back is one moment of both stores, without the users erased since."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection

from backups.contents import restore_dump
from backups.create import create_backup
from backups.destinations.opening import open_destination
from backups.postgresql.scratch import connection_to
from backups.restoring.restore import restore_source
from findme.core.db.restored import KEPT, decision
from privacy.actions.pending import process_pending
from tests.backups.making import request as backup_request
from tests.backups.restore.world import nothing_left, request, source_of
from tests.privacy.storm.ledger import Ledger
from tests.support.commands import environment, manage_here
from tests.support.database import Database, database, use_database
from tests.support.seeds import storm_seeds
from tests.support.waiting import DEADLINE_SECONDS, wait_until
from tests.vectorstore.storm.workers import Workers
from tests.vectorstore.storm.writers import Writer
from vectorstore.catalog.alias import collection_names
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.schema.initialize import initialize
from vectorstore.sync.worker import sync_once
from vectorstore.verification.verify import verify

WRITES = 40
"""So many transactions each writer has before the backup, and again before its end."""
CHANGED_BY_THE_REPLAY = {
    *("audit_log", "erased_users", "erasure_ledger", "erasure_ledger_state", "erasure_steps", "erasures", "ledger_checkpoints"),
    *("pending_actions", "vector_sync_queue"),
}


@pytest.mark.long
@pytest.mark.at_length
@pytest.mark.parametrize("seed", storm_seeds(1))
def test_restore__of_a_backup_in_a_storm(
    store: str, served: Database, place: Path, restore_journal: Path, tmp_path: Path, seed: int
) -> None:
    restore_in_a_storm(served, place, restore_journal, tmp_path, seed, has_snapshots=store == "server")


@pytest.mark.long
@pytest.mark.at_length
def test_restore__of_a_backup_in_a_storm__older_server(
    older_server: int, embedded_qdrant: object, place: Path, restore_journal: Path, tmp_path: Path
) -> None:
    with database() as made, use_database(made):
        call_command("migrate", verbosity=0)
        restore_in_a_storm(made, place, restore_journal, tmp_path, 0, has_snapshots=False)
        connection.close()


def restore_in_a_storm(served: Database, place: Path, restore_journal: Path, tmp_path: Path, seed: int, *, has_snapshots: bool) -> None:
    chance, over = random.Random(seed), threading.Event()
    user_ids = [UUID(int=chance.getrandbits(128), version=4) for _ in range(30)]
    ledger = Ledger()
    initialize()
    workers = Workers(environment(), tmp_path / "workers.log")
    writers = [Writer(served, 1000 * seed + number, user_ids, over, ledger) for number in range(2)]
    try:
        for _ in range(2):
            workers.spawn()
        for writer in writers:
            writer.start()
        wait_until(lambda: all(writer.writes > WRITES or writer.error for writer in writers), "Each writer has written")
        backup = create_backup(open_destination(str(place)), backup_request())
        written = [writer.writes for writer in writers]
        wait_until(
            lambda: all(writer.writes > before + WRITES or writer.error for writer, before in zip(writers, written, strict=True)),
            "Each writer has written after the backup",
        )
    finally:
        over.set()
        workers.end()
    for writer in writers:
        writer.join(DEADLINE_SECONDS)
        assert writer.error is None
    process_pending()
    drop_everything(served)

    source = source_of(place, backup.name)
    restored = restore_source(source, request(force=False))
    assert backup.postgresql is not None
    with database() as copy:
        scratch = connection_to(connection, copy.name)
        restore_dump(source.stored, backup.postgresql, scratch, with_owners=True)
        scratch.close()
        compare(copy, served, {str(user_id) for user_id in ledger.erased()})
    assert restored.collection is not None
    assert restored.collection.is_from_snapshot == has_snapshots
    assert sync_once(timeout=60).remaining.length == 0
    assert verify().clean
    code, _, err = manage_here("init_qdrant", "--check")
    assert (code, err) == (0, "")
    nothing_left(served, restore_journal)


def drop_everything(served: Database) -> None:
    connection.close()
    Database("postgres").execute(f"DROP DATABASE {served.name} WITH (FORCE)")
    with qdrant() as client:
        for name in sorted(collection_names(client)):
            if name.startswith(collection_name()):
                client.delete_collection(name)


def compare(copy: Database, served: Database, erased: set[str]) -> None:
    """Assert that each table of data has the rows of the dump, but for those of users who were erased since."""
    tables = {model._meta.db_table for model in apps.get_models(include_auto_created=True) if decision(model) == KEPT}
    with copy.connect() as dumped, served.connect() as live:
        for table in sorted(tables - CHANGED_BY_THE_REPLAY):
            before, after = set(rows_of(dumped, table)), set(rows_of(live, table))
            assert after <= before, table
            assert all(any(user_id in row for user_id in erased) for row in before - after), table
            assert not any(user_id in row for user_id in erased for row in after), table


def rows_of(session: psycopg.Connection[Any], table: str) -> Iterator[str]:
    yield from (row for (row,) in session.execute(f"SELECT t::text FROM {table} AS t".encode()))
