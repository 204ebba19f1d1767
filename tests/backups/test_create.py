"""A backup: complete with its manifest, or nothing."""

from __future__ import annotations

import json
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from pytest_django import Settings

from backups import create as module
from backups import postgres, qdrant
from backups.create import create_backup
from backups.destinations.destination import Destination
from backups.listing import list_backups
from backups.lock import backup_lock
from backups.models import Backup
from backups.postgresql.digests import table_digests
from backups.postgresql.dump import dump
from backups.postgresql.tables import dumped_tables
from backups.streams.keys import read_identities
from backups.streams.zstandard import decompressor
from backups.verify import verify_backup
from findme.core.errors import StoreUnavailable, UserFacingError
from findme.core.postgresql.programs import find_program
from findme.migrator.lock import migration_lock
from findme.migrator.version import applied_migrations
from privacy.ledger.book import digest_at, last_position
from privacy.ledger.signing import verifying_keys
from tests.backups.making import contents, key_pair, request
from tests.factories import ProfileEmbeddingFactory, UserFactory
from tests.qdrant import QdrantServer
from tests.support.commands import manage_here
from tests.support.database import database, use_database
from vectorstore.consistency.version_digest import version_digest
from vectorstore.schema.initialize import initialize
from vectorstore.snapshots.downloads import downloads
from vectorstore.snapshots.repository import list_snapshots
from vectorstore.snapshots.transfer import chunks_of
from vectorstore.sync.inline import sync_users

pytestmark = pytest.mark.django_db(transaction=True)


def restored_digests(place: Path, name: str, dump: bytes) -> dict[str, Any]:
    """Restore the dump into a new database and return the digests of its tables."""
    file = place.parent / f"{name}.dump"
    file.write_bytes(dump)
    with database() as made:
        restore = find_program("pg_restore", connection.connection.info.server_version // 10_000)
        subprocess.run([str(restore.path), "--no-owner", "--no-privileges", f"--dbname={made.url()}", str(file)], check=True)
        with use_database(made):
            return {name: (one.rows, one.digest) for name, one in table_digests(connection, dumped_tables(connection)).items()}


def plain(place: Path, file: str) -> bytes:
    """Return the content of a file of the only backup in ``place``, which is not encrypted."""
    (path,) = place.glob(f"*/{file}")
    return bytes(decompressor().decompress(path.read_bytes()))


# --- What it has ---------------------------------------------------------------------------------------------------------------------


def test_create_backup__embedded_store__has_all_of_postgresql(embedded_qdrant: object, place: Path, destination: Destination) -> None:
    UserFactory.create_batch(3)
    made = create_backup(destination, request())
    assert made.is_complete
    assert made.qdrant is None
    assert made.without_qdrant == "The embedded vector store has no snapshots. PostgreSQL has all of it."
    assert made.postgresql is not None
    assert made.postgresql.tables["public.users"].rows == 3
    assert made.postgresql.migrations == tuple(one.description for one in applied_migrations())
    assert contents(place) == [made.name, *(f"{made.name}/{file}" for file in ("cluster.json.zst", "manifest.json", "postgresql.dump.zst"))]
    assert {stat.S_IMODE(path.stat().st_mode) for path in place.rglob("*") if path.is_file()} == {0o600}
    assert verify_backup(destination, made.name, verifying_keys(), ()).manifest == made
    assert 0 <= made.reaches_back_seconds <= (made.ended_at - made.begun_at).total_seconds()


def test_create_backup__restored__has_the_digests_of_the_manifest(embedded_qdrant: object, place: Path, destination: Destination) -> None:
    ProfileEmbeddingFactory.create_batch(2)
    made = create_backup(destination, request())
    assert made.postgresql is not None
    expected = {name: (table.rows, table.digest) for name, table in made.postgresql.tables.items()}
    assert restored_digests(place, made.name, plain(place, "postgresql.dump.zst")) == expected
    assert json.loads(plain(place, "cluster.json.zst"))["name"] == made.database.name


def test_create_backup__ledger__is_that_of_the_snapshot(embedded_qdrant: object, destination: Destination) -> None:
    made = create_backup(destination, request())
    assert made.postgresql is not None
    assert made.postgresql.ledger is not None
    digest = digest_at(last_position())
    assert digest is not None
    assert (made.postgresql.ledger.position, made.postgresql.ledger.digest) == (last_position(), digest.hex())


def test_create_backup__some_tables__is_not_complete(embedded_qdrant: object, place: Path, destination: Destination) -> None:
    UserFactory.create()
    made = create_backup(destination, request(only="postgres", tables=("videos", "users")))
    assert not made.is_complete
    assert made.postgresql is not None
    assert set(made.postgresql.tables) == {"public.users", "public.videos"}
    assert [row.is_complete for row in Backup.objects.all()] == [False]
    with pytest.raises(UserFacingError, match="There is no table 'userss'"):
        create_backup(destination, request(only="postgres", tables=("userss",)))
    assert [one.name for one in list_backups(destination, verifying_keys())] == [made.name]


def test_create_backup__encrypted__needs_the_key(embedded_qdrant: object, place: Path, destination: Destination, tmp_path: Path) -> None:
    user = UserFactory.create(full_name="Erika Unmistakable")
    recipient = key_pair(tmp_path / "key")
    made = create_backup(destination, request(recipients=(recipient,)))
    assert made.is_encrypted
    assert not verify_backup(destination, made.name, verifying_keys(), ()).is_decrypted
    assert verify_backup(destination, made.name, verifying_keys(), read_identities(tmp_path / "key")).is_decrypted
    stored = b"".join(path.read_bytes() for path in place.rglob("*") if path.is_file())
    assert user.full_name.encode() not in stored
    assert connection.settings_dict["NAME"].encode() in (place / made.name / "manifest.json").read_bytes()
    key_pair(tmp_path / "other")
    with pytest.raises(UserFacingError, match="No key of the identity file opens"):
        verify_backup(destination, made.name, verifying_keys(), read_identities(tmp_path / "other"))


def test_create_backup__recorded__with_its_place_and_size(embedded_qdrant: object, place: Path, destination: Destination) -> None:
    made = create_backup(destination, request())
    row = Backup.objects.get()
    assert (row.destination, row.name, row.database) == (str(place), made.name, made.database.identity)
    assert (row.taken_at, row.is_complete, row.is_encrypted, row.gone_at) == (made.taken_at, True, False, None)
    assert row.size == sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
    destination.delete(made.name)
    second = create_backup(destination, request())
    assert {one.name: one.gone_at is None for one in Backup.objects.all()} == {made.name: False, second.name: True}


def test_create_backup__two_in_one_second__have_two_names(embedded_qdrant: object, place: Path, destination: Destination) -> None:
    made = [create_backup(destination, request(only="postgres", tables=("users",))).name for _ in range(3)]
    assert len(set(made)) == 3
    assert sorted(made) == made


# --- What it locks -------------------------------------------------------------------------------------------------------------------


def test_create_backup__while_another_runs__is_refused(embedded_qdrant: object, place: Path, destination: Destination) -> None:
    with backup_lock("backup"), pytest.raises(UserFacingError, match="Another process makes or removes backups of this database"):
        create_backup(destination, request())
    assert contents(place) == []


def test_create_backup__while_a_migration_runs__waits_for_it(
    embedded_qdrant: object, place: Path, destination: Destination, settings: Settings
) -> None:
    settings.MIGRATE_WAIT_SECONDS = 0
    with migration_lock("migrate"), pytest.raises(UserFacingError, match="migration lock"):
        create_backup(destination, request())
    assert contents(place) == []


def test_create_backup__writers__wait_for_nothing(
    embedded_qdrant: object, destination: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the dump runs, a session writes with a lock_timeout, and its row is not in the backup."""
    UserFactory.create()
    written: list[int] = []

    @contextmanager
    def with_writer(*arguments: Any, **options: Any) -> Iterator[Any]:
        with dump(*arguments, **options) as stream:
            with transaction.atomic(), connection.cursor() as cursor:
                # A writer that waits for a lock fails.
                cursor.execute("SET LOCAL lock_timeout = '1ms'")
                written.append(len(UserFactory.create_batch(2)))
            yield stream

    monkeypatch.setattr(postgres, "dump", with_writer)
    made = create_backup(destination, request())
    assert written == [2]
    assert made.postgresql is not None
    assert made.postgresql.tables["public.users"].rows == 1


# --- What can fail -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [KeyboardInterrupt(), UserFacingError("no room"), MemoryError()])
@pytest.mark.parametrize("step", ["signed", "back_up_postgresql", "digests"])
def test_create_backup__error__leaves_nothing(
    embedded_qdrant: object, place: Path, destination: Destination, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    def fail(*_arguments: Any, **_options: Any) -> None:
        raise error

    if step == "digests":
        monkeypatch.setattr(postgres, "table_digests", fail)
    else:
        monkeypatch.setattr(module, step, fail)
    with pytest.raises(type(error)):
        create_backup(destination, request())
    assert contents(place) == []
    assert not Backup.objects.exists()
    assert not [thread.name for thread in threading.enumerate() if thread.name == "digests"]


def test_create_backup__server_ends_the_session__leaves_nothing(
    embedded_qdrant: object, place: Path, destination: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def then_ended(*arguments: Any, **options: Any) -> Iterator[Any]:
        with dump(*arguments, **options) as stream:
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            yield stream

    def slow(session: BaseDatabaseWrapper, _tables: object) -> None:
        with session.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(300)")

    monkeypatch.setattr(postgres, "dump", then_ended)
    # A small dump can be complete already. The session of the digests is lost then.
    monkeypatch.setattr(postgres, "table_digests", slow)
    code, _, err = manage_here("backup", place)
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert contents(place) == []


def test_backup__destination_is_gone__one_line(embedded_qdrant: object, place: Path) -> None:
    place.rmdir()
    code, _, err = manage_here("backup", place)
    assert (code, "There is no folder" in err) == (2, True)
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--recipient", "age1nonsense"), "is not the public key of an age identity"),
        (("--tables", "users"), "Add --only postgres."),
        (("--only", "postgres", "--tables", " , "), "--tables names no table"),
        (("--only", "qdrant"), "The embedded vector store has no snapshots."),
    ],
)
def test_backup__wrong_arguments__are_refused_before_anything(
    embedded_qdrant: object, place: Path, arguments: tuple[str, ...], message: str
) -> None:
    code, _, err = manage_here("backup", place, *arguments)
    assert (code, message in err) == (2, True)
    assert contents(place) == []


def test_backup__prints_what_it_has(embedded_qdrant: object, place: Path) -> None:
    code, out, _ = manage_here("backup", place)
    assert code == 0
    lines = out.splitlines()
    assert lines[0].startswith("Backup 20")
    assert lines[2].startswith("PostgreSQL ")
    assert lines[3] == "Without Qdrant: The embedded vector store has no snapshots. PostgreSQL has all of it."
    assert lines[4].startswith("It reaches back ")
    code, out, _ = manage_here("backup", place, "--json", "--only", "postgres")
    assert json.loads(out)["only"] == "postgres"


# --- With a server -------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def users(server: QdrantServer) -> list[Any]:
    """Two users with points on a server, once by REST and once by gRPC."""
    initialize()
    found = [one.pk for one in ProfileEmbeddingFactory.create_batch(2)]
    sync_users(found)
    return found


@pytest.mark.qdrant_server
def test_create_backup__server__has_the_snapshot(users: list[Any], place: Path, destination: Destination) -> None:
    made = create_backup(destination, request())
    assert made.is_complete
    assert made.qdrant is not None
    found = version_digest(made.qdrant.collection)
    assert (made.qdrant.points, made.qdrant.highest_version, made.qdrant.digest) == (2, found.highest_version, found.digest)
    assert [node.file.name for node in made.qdrant.nodes] == ["qdrant-0.snapshot.zst"] or made.qdrant.nodes[0].peer_id > 0
    assert verify_backup(destination, made.name, verifying_keys(), ()).manifest == made
    # A snapshot is a tar archive.
    assert plain(place, "qdrant-*.snapshot.zst")[257:262] == b"ustar"
    assert list_snapshots().snapshots == ()
    assert downloads() == ()


@pytest.mark.qdrant_server
def test_create_backup__qdrant_is_gone__names_the_way_without_it(
    users: list[Any], place: Path, destination: Destination, settings: Settings
) -> None:
    settings.QDRANT_URL, settings.QDRANT_GRPC_PORT = "http://127.0.0.1:9", 0
    with pytest.raises(StoreUnavailable, match="--only postgres makes one without Qdrant"):
        create_backup(destination, request())
    assert contents(place) == []
    assert create_backup(destination, request(only="postgres")).qdrant is None


@pytest.mark.qdrant_server
def test_create_backup__snapshot_is_damaged_on_the_way__leaves_nothing(
    users: list[Any], place: Path, destination: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:

    @contextmanager
    def with_another_byte(*arguments: Any, **options: Any) -> Iterator[Iterator[bytes]]:
        with chunks_of(*arguments, **options) as chunks:
            yield (bytes([chunk[0] ^ 1]) + chunk[1:] for chunk in chunks)

    monkeypatch.setattr(qdrant, "chunks_of", with_another_byte)
    with pytest.raises(StoreUnavailable, match="but Qdrant reports"):
        create_backup(destination, request())
    assert contents(place) == []
    assert list_snapshots().snapshots == ()
