"""A restore of each kind of source: encrypted, from S3, of an older server, a dump of another program, some tables, only a snapshot."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connection

from backups.create import create_backup
from backups.destinations.opening import open_destination
from backups.postgresql.connection import program_connection
from backups.restoring import sources
from backups.restoring.sources import BackupSource
from backups.streams.keys import read_identities
from findme.core.errors import UserFacingError
from findme.core.postgresql.programs import find_program
from privacy.models import ErasedUser
from tests.backups.making import key_pair
from tests.backups.making import request as backup_request
from tests.backups.restore.world import World, differences, is_restored, left_over, make_world, nothing_left, users
from tests.factories import ProfileEmbeddingFactory, UserFactory
from tests.support.commands import manage_here, refused
from tests.support.database import Database
from vectorstore.catalog import registry
from vectorstore.schema.initialize import initialize

OTHER_TABLE = "CREATE TABLE other_table (id int)"


@pytest.mark.long
@pytest.mark.at_length
def test_restore__encrypted__needs_the_identity(store: str, served: Database, place: Path, restore_journal: Path, tmp_path: Path) -> None:
    """With a server, the snapshot brings the points back, without that of the erased user."""
    world = make_world(place, recipients=[key_pair(tmp_path / "key")])
    with pytest.raises(UserFacingError, match="is encrypted"):
        world.restore()
    assert not is_restored(world)
    done = world.restore(identities=read_identities(tmp_path / "key"))
    assert is_restored(world)
    assert done.collection is not None
    assert done.collection.is_from_snapshot == (store == "server")
    if done.collection.is_from_snapshot:
        assert (done.collection.removed, done.collection.written) == (1, 0)


def test_restore__postgresql_fails_while_the_snapshot_is_uploaded__leaves_nothing(
    store: str, served: Database, place: Path, restore_journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(place)

    def fail(*arguments: Any, **options: Any) -> Any:
        raise UserFacingError("The disk is full.")

    monkeypatch.setattr(sources, "fill", fail)
    with pytest.raises(UserFacingError, match="The disk is full"):
        world.restore()
    assert not is_restored(world)
    nothing_left(served, restore_journal)


@pytest.mark.long
@pytest.mark.at_length
def test_restore__older_server(older_server: int, embedded_qdrant: object, place: Path, restore_journal: Path) -> None:
    call_command("migrate", verbosity=0)
    world = make_world(place)
    world.restore()
    assert is_restored(world)


@pytest.mark.long
@pytest.mark.at_length
def test_restore__dump_of_another_program(embedded_qdrant: object, served: Database, restore_journal: Path, tmp_path: Path) -> None:
    """A dump has no manifest. It is made fit to serve as a backup is."""
    initialize()
    user_id = ProfileEmbeddingFactory.create().user.pk
    for name, options in (("dump", ["--format=custom"]), ("dump.sql", [])):
        path = dump(tmp_path / name, *options)
        UserFactory.create()
        code, out, err = manage_here("restore", path, "--force")
        assert (code, err) == (0, "")
        assert "no manifest" in out
        assert users() == {user_id}
        assert differences() == 0


@pytest.mark.long
@pytest.mark.at_length
def test_restore__dump_of_other_tables__is_refused(empty: Database, embedded_qdrant: object, restore_journal: Path, tmp_path: Path) -> None:
    empty.execute(OTHER_TABLE)
    path = dump(tmp_path / "dump", "--format=custom")
    assert "neither FindMe's tables nor those" in refused("restore", path, "--force")
    assert left_over(empty) == []
    assert not restore_journal.exists()


def dump(path: Path, *options: str) -> Path:
    connection.ensure_connection()
    program = find_program("pg_dump", connection.connection.info.server_version // 10_000)
    target = program_connection(connection)
    subprocess.run([str(program.path), f"--dbname={target.conninfo}", f"--file={path}", *options], env=target.environment, check=True)
    return path


def test_restore__tables__only_what_is_missing(embedded_qdrant: object, served: Database, place: Path, restore_journal: Path) -> None:
    """A user who was deleted by mistake, and not erased, comes back. What is newer stays."""
    initialize()
    lost, changed = UserFactory.create(), UserFactory.create()
    made = create_backup(open_destination(str(place)), backup_request(only="postgres"))
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE users DISABLE TRIGGER USER")
        cursor.execute("DELETE FROM users WHERE id = %s", [lost.pk])
        cursor.execute("ALTER TABLE users ENABLE TRIGGER USER")
    get_user_model().objects.filter(pk=changed.pk).update(full_name="Newer")
    assert not ErasedUser.objects.exists()
    for dry_run, expected in ((["--dry-run"], {changed.pk}), ([], {changed.pk, lost.pk})):
        code, out, err = manage_here("restore", f"{place}/{made.name}", "--tables", "users", *dry_run)
        assert (code, err) == (0, "")
        assert "users: 1 row of 2 missing, 1 brought back." in out
        assert users() == expected
    assert get_user_model().objects.get(pk=changed.pk).full_name == "Newer"
    assert left_over(served) == []
    assert not restore_journal.exists()


@pytest.mark.qdrant_server
def test_restore__only_qdrant__postgresql_stays(qdrant_server: object, served: Database, place: Path, restore_journal: Path) -> None:
    world = make_world(place)
    before: set[UUID] = users()
    live = registry.live()
    code, _, err = manage_here("restore", f"{place}/{world.backup.name}", "--only", "qdrant")
    assert (code, err) == (0, "")
    assert (users(), differences()) == (before, 0)
    assert registry.live() not in {None, live}
    refusal = "has no part of Qdrant"
    made = create_backup(open_destination(str(place)), backup_request(only="postgres"))
    assert refusal in refused("restore", f"{place}/{made.name}", "--only", "qdrant")


@pytest.mark.qdrant_server
def test_restore__only_postgres__builds_the_collection(qdrant_server: object, served: Database, place: Path, restore_journal: Path) -> None:
    world = make_world(place)
    done = world.restore(only="postgres")
    assert is_restored(world)
    assert done.collection is not None
    assert (done.collection.is_from_snapshot, done.collection.written) == (False, 3)
    with pytest.raises(UserFacingError, match=r"Qdrant .* cannot take a snapshot of Qdrant 1\.2\.3"):
        _other_version(world, "1.2.3").require_snapshots(())


def _other_version(world: World, version: str) -> BackupSource:
    source = world.source()
    assert source.manifest.qdrant is not None
    source.manifest = replace(source.manifest, qdrant=replace(source.manifest.qdrant, server_version=version))
    return source
