import json
import re
import signal
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from pytest_django import Settings
from qdrant_client import QdrantClient, models

from findme.core.commands.steps import printed_steps
from findme.core.errors import UserFacingError
from tests.factories import unit_vector
from tests.qdrant import QdrantServer
from tests.schema.rows import ask
from tests.support.commands import manage, started
from tests.support.payloads import payload_of
from tests.support.sessions import watched_session
from tests.support.threads import in_thread
from tests.support.users import create_users
from tests.support.waiting import wait_until
from tests.vectorstore.snapshots.snapshot_proxy import silent_proxy
from vectorstore.catalog import registry
from vectorstore.catalog.alias import alias_target
from vectorstore.consistency.versions import highest, last_allocated
from vectorstore.models import ProfileEmbedding, QueueEntry, VectorCollection
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.rebuild.backfill import BackfillResult
from vectorstore.rebuild.build import make
from vectorstore.rebuild.reindex import reindex
from vectorstore.schema.initialize import compare
from vectorstore.snapshots.repository import create, delete, fetch, list_snapshots
from vectorstore.snapshots.restore import RestoreResult, restore
from vectorstore.snapshots.transfer import sha256_of, upload
from vectorstore.snapshots.upgrade import upgrade_collection
from vectorstore.sync.worker import sync_once

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.qdrant_server]


def create_and_sync(count: int) -> list[UUID]:
    user_ids = create_users(count)
    sync_once()
    return user_ids


def snapshot(folder: Path) -> Path:
    """Download a snapshot of the collection as it is now, and delete it on the server."""
    (one,) = create()
    path = fetch(one.name, folder).path
    delete([one.name])
    return path


def name(number: int) -> str:
    return f"{collection_name()}_v{number}"


def restore_file(path: Path, **options: Any) -> RestoreResult:
    return restore([path], **options)


def matches_postgresql() -> bool:
    """Return whether the live collection holds exactly the points that PostgreSQL demands."""
    rows = ProfileEmbedding.objects.filter(user__deleted_at__isnull=True, user__is_staff=False).select_related("user")
    expected = {str(row.pk): (payload_of(row.user, row), row.vector) for row in rows}
    with qdrant() as client:
        records = client.scroll(collection_name(), limit=10_000, with_payload=True, with_vectors=True)[0]
    found = {str(record.id): ({k: v for k, v in (record.payload or {}).items() if k != "version"}, record.vector) for record in records}
    assert found.keys() == expected.keys()
    assert all(found[user][0] == expected[user][0] for user in expected)
    return all(np.allclose(np.array(found[user][1]), np.array(expected[user][1]), atol=1e-6) for user in expected)


def states() -> dict[str, str]:
    return dict(VectorCollection.objects.of(collection_name()).values_list("name", "state"))


def collections() -> set[str]:
    with qdrant() as client:
        return {one.name for one in client.get_collections().collections if one.name.startswith(f"{collection_name()}_v")}


# --- Restored points ------------------------------------------------------------------------------------------------------------


def test_restore__users_changed_since__brings_their_points_up_to_date(any_collection: QdrantServer, tmp_path: Path) -> None:
    erased, hidden, moved, aged, *rest = create_and_sync(7)
    path = snapshot(tmp_path)
    ask("DELETE FROM users WHERE id = %s", erased)
    ask("UPDATE users SET deleted_at = now() WHERE id = %s", hidden)
    ask("UPDATE profile_embeddings SET vector = %s WHERE user_id = %s", unit_vector(99), moved)
    ask("UPDATE users SET date_of_birth = date_of_birth - 400 WHERE id = %s", aged)
    create_and_sync(2)
    before = last_allocated()
    result = restore_file(path)
    assert (result.collection, result.replaced, result.retained, result.dropped) == (name(2), name(1), False, (name(1),))
    assert (result.removed, result.written, result.found) == (4, 4, len(rest))
    assert result.acceptance is not None and (result.acceptance.users, result.acceptance.points) == (7, 7)
    assert matches_postgresql()
    assert states() == {name(2): "live"}
    assert collections() == {name(2)}
    assert list_snapshots().snapshots == (), "Qdrant keeps the uploaded file"
    with qdrant() as client:
        assert alias_target(client) == name(2)
        assert before < highest(client, name(2)) <= last_allocated()
    assert compare().differences == []
    ask("DELETE FROM users WHERE id = %s", rest[0])
    sync_once()
    assert matches_postgresql()


def test_restore__server_has_lost_the_collection__makes_the_restored_one_live(collection: QdrantServer, tmp_path: Path) -> None:
    create_and_sync(3)
    path = snapshot(tmp_path)
    (deleted,) = ProfileEmbedding.objects.order_by("pk").values_list("pk", flat=True)[:1]
    with qdrant() as client:
        client.delete_collection(name(1))
    ask("DELETE FROM users WHERE id = %s", deleted)
    result = restore_file(path)
    assert (result.collection, result.replaced) == (name(2), None)
    assert matches_postgresql()
    assert states() == {name(2): "live"}
    sync_once()
    assert compare().differences == []


def test_restore__versions_above_the_sequence__raises_the_sequence(collection: QdrantServer, tmp_path: Path) -> None:
    """PostgreSQL is an older copy too: with its lower versions, every later write would fail without an error."""
    changed, *_ = create_and_sync(3)
    path = snapshot(tmp_path)
    with qdrant() as client:
        newest = highest(client, name(1))
        client.delete_collection(name(1))
    ask("SELECT setval('vector_sync_version', 1, false)")
    restore_file(path)
    assert last_allocated() > newest
    ask("UPDATE profile_embeddings SET vector = %s WHERE user_id = %s", unit_vector(99), changed)
    sync_once()
    assert matches_postgresql()


def test_restore__orphans_and_wrong_payloads__are_removed(collection: QdrantServer, tmp_path: Path) -> None:
    (user,) = create_and_sync(1)
    with qdrant() as client:
        vector = unit_vector(1)
        client.upsert(name(1), [models.PointStruct(id=7, vector=vector), models.PointStruct(id=str(UUID(int=7)), vector=vector)], wait=True)
        client.set_payload(name(1), {"more": 1}, points=[str(user)], wait=True)
    result = restore_file(snapshot(tmp_path))
    assert (result.removed, result.written, result.found) == (3, 1, 0)
    assert matches_postgresql()


@pytest.mark.parametrize("version", [2**52, 2**53, 2**60, -1, 1.5, [2**60, 1], [7], "x", True])
def test_restore__impossible_version__is_removed_and_written_again(collection: QdrantServer, tmp_path: Path, version: Any) -> None:
    """Some of these block every conditional write, and they hide the highest valid version of the collection."""
    broken, *_ = create_and_sync(3)
    with qdrant() as client:
        newest = highest(client, name(1))
        client.set_payload(name(1), {"version": version}, points=[str(broken)], wait=True)
        client.upsert(name(1), [models.PointStruct(id=7, vector=unit_vector(1), payload={"version": version})], wait=True)
    path = snapshot(tmp_path)
    ask("SELECT setval('vector_sync_version', 1, false)")
    result = restore_file(path)
    assert (result.removed, result.written, result.found) == (2, 1, 2)
    assert last_allocated() > newest
    assert matches_postgresql()
    ask("UPDATE profile_embeddings SET vector = %s", unit_vector(99))
    sync_once()
    assert matches_postgresql()


def test_restore__version_is_a_list__is_removed_and_written_again(collection: QdrantServer, tmp_path: Path) -> None:
    """The condition of a write compares each number of a list."""
    broken, *_ = create_and_sync(3)
    with qdrant() as client:
        client.set_payload(name(1), {"version": [2**50]}, points=[str(broken)], wait=True)
    result = restore_file(snapshot(tmp_path))
    assert (result.removed, result.written, result.found) == (1, 1, 2)
    assert matches_postgresql()


def test_restore__vector_of_nan__is_removed_and_written_again(any_collection: QdrantServer, tmp_path: Path) -> None:
    """Qdrant accepts NaN by gRPC, and returns ``null`` by REST."""
    broken, *_ = create_and_sync(3)
    point = models.PointStruct(id=str(broken), vector=[float("nan")] * 512, payload={"version": 1})
    client = QdrantClient(url=any_collection.url, grpc_port=any_collection.grpc_port, prefer_grpc=True, check_compatibility=False)
    with closing(client):
        client.upsert(name(1), [point], wait=True)
    result = restore_file(snapshot(tmp_path))
    assert (result.removed, result.written, result.found) == (1, 1, 2)
    assert matches_postgresql()


def test_restore__earlier_collection_of_the_same_name__keeps_its_snapshots(collection: QdrantServer, tmp_path: Path) -> None:
    """After a rollback and a drop, the snapshots stay on the server, and the next collection gets the same name."""
    create_and_sync(1)
    path = snapshot(tmp_path)
    with qdrant() as client:
        client.create_collection(name(2), vectors_config={})
        other_snapshot = client.create_snapshot(name(2))
        assert other_snapshot is not None
        client.delete_collection(name(2))
    renamed = path.rename(path.with_name(other_snapshot.name))
    assert restore_file(renamed).collection == name(2)
    assert [(one.name, one.size, one.sha256) for one in list_snapshots().snapshots] == [
        (other_snapshot.name, other_snapshot.size, other_snapshot.checksum)
    ]


def test_restore__snapshot_has_other_settings__applies_the_current_definition(collection: QdrantServer, tmp_path: Path) -> None:
    create_and_sync(1)
    with qdrant() as client:
        client.update_collection(name(1), optimizers_config=models.OptimizersConfigDiff(indexing_threshold=500))
        client.delete_payload_index(name(1), "gender")
        client.update_collection(name(1), metadata={"findme_database": "another", "findme_checkpoint": {"id": "x"}})
    path = snapshot(tmp_path)
    with qdrant() as client:
        client.delete_collection(name(1))
    restore_file(path)
    assert compare().differences == []


# --- While workers run -----------------------------------------------------------------------------------------------------------


def test_restore__users_changed_meanwhile__loses_no_change(
    collection: QdrantServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its row is registered, workers do not write the restored collection: the comparison finds those changes.

    Afterwards they write it. A worker uses its own connection, and drops no collection while another process holds the lock.
    """
    before, after, *_ = create_and_sync(4)
    path = snapshot(tmp_path)

    def change_then_upgrade(*arguments: Any) -> None:
        ask("DELETE FROM users WHERE id = %s", before)
        in_thread(sync_once).result()
        upgrade_collection(*arguments)

    def on_step(line: str) -> None:
        if "was restored from the snapshot" in line:
            ask("UPDATE profile_embeddings SET vector = %s WHERE user_id = %s", unit_vector(99), after)
            in_thread(sync_once).result()
            with qdrant() as client:
                (found,) = client.retrieve(name(2), [str(after)], with_vectors=True)
            assert np.allclose(np.array(found.vector), np.array(unit_vector(99)), atol=1e-6)

    monkeypatch.setattr(f"{restore.__module__}.upgrade_collection", change_then_upgrade)
    with printed_steps("findme.vectorstore", on_step):
        result = restore_file(path)
    assert (result.removed, result.written, result.found) == (1, 0, 3)
    assert not QueueEntry.objects.exists()
    assert matches_postgresql()


def test_restore__long_upload__keeps_the_session_with_the_lock_active(
    collection: QdrantServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upload may take an hour. If PostgreSQL ended the idle session, the lock would be lost, and a worker would drop the new collection."""
    create_and_sync(1)
    path = snapshot(tmp_path)
    monkeypatch.setattr("vectorstore.snapshots.upload.SLICE_SECONDS", 0.05)
    with watched_session() as session:

        def upload_slowly(*arguments: Any, **options: Any) -> None:
            used_at = session.last_used()
            wait_until(lambda: session.last_used() > used_at)
            upload(*arguments, **options)

        monkeypatch.setattr("vectorstore.snapshots.upload.upload", upload_slowly)
        restore_file(path)


def test_restore__acceptance_check_fails__drops_the_collection(
    collection: QdrantServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_and_sync(3)
    path = snapshot(tmp_path)
    ask("UPDATE profile_embeddings SET vector = %s", unit_vector(99))
    sync_once()
    monkeypatch.setattr("vectorstore.rebuild.build.backfill", lambda *_arguments, **_options: BackfillResult(0, 0))
    message = (
        rf"^'{name(2)}' is not accepted: 3 missing \(.*\)\. The alias was not moved\. The restored collection was dropped\. Restore again,"
        r" with another --timeout or --min-recall if that was the cause, or run manage\.py reindex_qdrant\.$"
    )
    with pytest.raises(UserFacingError, match=message):
        restore_file(path)
    monkeypatch.undo()
    assert is_unchanged()
    restore_file(path)
    assert matches_postgresql()


# --- Rejected files --------------------------------------------------------------------------------------------------------------


def is_unchanged() -> bool:
    with qdrant() as client:
        assert alias_target(client) == name(1)
    assert states() == {name(1): "live"}
    return collections() == {name(1)}


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_restore__damaged_file__is_refused(collection: QdrantServer, tmp_path: Path) -> None:
    create_and_sync(3)
    path = snapshot(tmp_path)
    damage(path)
    message = rf"^{re.escape(repr(str(path)))} is damaged: its SHA-256 is [0-9a-f]{{64}} instead of '[0-9a-f]{{64}}'\. Download the snapshot again\.$"
    with pytest.raises(UserFacingError, match=message):
        restore_file(path)
    assert is_unchanged()


def test_restore__file_has_another_sha256__is_refused(collection: QdrantServer, tmp_path: Path) -> None:
    create_and_sync(1)
    path = snapshot(tmp_path)
    with pytest.raises(UserFacingError, match="instead of 'abcd'"):
        restore_file(path, sha256="ABCD")
    with pytest.raises(
        UserFacingError,
        match=r"^--sha256 'ABCD' is for one file, but 2 are named\. Omit it: download has written a \.sha256 file for each\.$",
    ):
        restore([path, path], sha256="ABCD")
    assert is_unchanged()


def test_restore__file_changed_after_its_check__server_rejects_it(
    collection: QdrantServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server compares the SHA-256 again after the upload."""
    create_and_sync(1)
    path = snapshot(tmp_path)

    def hash_then_damage(path: Path, report: Any) -> str:
        found = sha256_of(path, report)
        damage(path)
        return found

    content = path.read_bytes()
    monkeypatch.setattr(f"{restore.__module__}.sha256_of", hash_then_damage)
    with pytest.raises(UserFacingError, match="rejected this: Checksum mismatch"):
        restore_file(path)
    monkeypatch.undo()
    assert is_unchanged()
    path.write_bytes(content)
    restore_file(path)
    assert list_snapshots().snapshots == (), "Qdrant has kept an uploaded file"


def test_restore__truncated_file__is_refused(collection: QdrantServer, tmp_path: Path) -> None:
    create_and_sync(1)
    path = snapshot(tmp_path)
    path.with_name(f"{path.name}.sha256").unlink()
    path.write_bytes(path.read_bytes()[:-30_000])
    with pytest.raises(UserFacingError, match=r"is not a complete snapshot of a Qdrant collection"):
        restore_file(path)
    assert is_unchanged()


# --- Killed ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.at_length("/snapshots/upload", "/points/query")
@pytest.mark.parametrize("moment", ["/snapshots/upload", "_v2/points/scroll", "_v2/points/delete", "/points/query", "/collections/aliases"])
def test_restore__killed__next_run_starts_again_and_completes(
    qdrant_server: QdrantServer, settings: Settings, tmp_path: Path, moment: str
) -> None:
    """The moments: upload, before the registration, comparison, acceptance check, and moving the alias."""
    code, _, stderr = manage("init_qdrant")
    assert (code, stderr) == (0, "")
    deleted, *_ = create_and_sync(4)
    path = snapshot(tmp_path)
    ask("DELETE FROM users WHERE id = %s", deleted)
    kill_at(moment, qdrant_server, settings, path)
    with qdrant() as client:
        assert alias_target(client) == name(1)
    sync_once()
    result = restore_file(path)
    assert states() == {result.collection: "live"}
    assert collections() == {result.collection}
    assert matches_postgresql()


def test_restore__rebuild_was_killed_after_moving_the_alias__restores(collection: QdrantServer, tmp_path: Path) -> None:
    """The collection that was live before is gone too."""
    create_and_sync(3)
    path = snapshot(tmp_path)
    with qdrant() as client:
        registry.prepare(make(client), timedelta(0))
        new_alias = models.CreateAlias(collection_name=name(2), alias_name=collection_name())
        client.update_collection_aliases([models.CreateAliasOperation(create_alias=new_alias)])
        client.delete_collection(name(1))
    assert states() == {name(1): "live", name(2): "ready"}
    result = restore_file(path)
    assert (result.collection, result.replaced) == (name(3), name(2))
    assert matches_postgresql()
    assert states() == {name(3): "live"}


def test_reindex__restore_was_killed__starts_a_new_collection(qdrant_server: QdrantServer, settings: Settings, tmp_path: Path) -> None:
    """Continuing with the restored collection would skip the points in it, which were not compared yet."""
    assert manage("init_qdrant")[0] == 0
    changed, *_ = create_and_sync(3)
    path = snapshot(tmp_path)
    ask("UPDATE profile_embeddings SET vector = %s WHERE user_id = %s", unit_vector(99), changed)
    sync_once()
    kill_at("_v2/points/delete", qdrant_server, settings, path)
    assert states()[name(2)] == "building"
    result = reindex()
    assert (result.collection, result.written, result.dropped) == (name(2), 3, (name(1),))
    assert collections() == {name(2)}
    assert matches_postgresql()


def kill_at(moment: str, server: QdrantServer, settings: Settings, path: Path) -> None:
    reached: list[str] = []
    proxy = silent_proxy(server.url, lambda request: request.partition("?")[0].endswith(moment), reached)
    with proxy as settings.QDRANT_URL, started("qdrant_snapshot", "restore", path) as process:
        wait_until(lambda: process.poll() is not None or bool(reached))
        process.kill()
        output = process.communicate()
    settings.QDRANT_URL = server.url
    assert process.returncode == -signal.SIGKILL, output


# --- The command -----------------------------------------------------------------------------------------------------------------


def test_restore_command__prints_each_step(collection: QdrantServer, tmp_path: Path) -> None:
    create_and_sync(3)
    path = snapshot(tmp_path)
    code, stdout, stderr = manage("qdrant_snapshot", "restore", path, "--retain", "1h")
    assert (code, stderr) == (0, "")
    *steps, retained = stdout.splitlines()
    assert steps == [
        f"{name(2)} was restored from the snapshot. Workers write it from now on.",
        "0 points that differed from PostgreSQL were deleted.",
        "0 points written, 3 already existed.",
        f"{name(2)} is accepted: 3 points, recall@10 1.0000 (live: 1.0000).",
        f"The alias {collection_name()} now points to {name(2)}.",
    ]
    assert re.fullmatch(rf"{name(1)} is retained until 20.* UTC: reindex_qdrant --rollback makes it live again\.", retained)
    assert states() == {name(1): "retained", name(2): "live"}
    code, stdout, stderr = manage("qdrant_snapshot", "restore", path, "--json")
    assert (code, stderr) == (0, "")
    assert json.loads(stdout)["replaced"] == name(2)
    assert registry.live() == name(3)
    code, stdout, stderr = manage("qdrant_snapshot", "restore", tmp_path / "nothing")
    assert (code, stdout) == (2, "")
    assert stderr == f"There is no file {str(tmp_path / 'nothing')!r}. Name a file that manage.py qdrant_snapshot download has written.\n"
