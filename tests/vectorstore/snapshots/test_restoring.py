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
from django.db import connection
from pytest_django import Settings
from qdrant_client import QdrantClient, models

from findme.core.commands.steps import printed_steps
from findme.core.errors import UserFacingError
from tests.factories import unit_vector
from tests.qdrant import QdrantServer
from tests.support.commands import manage, started
from tests.support.sessions import watched_session
from tests.support.threads import in_thread
from tests.support.users import create_users
from tests.support.waiting import wait_until
from tests.vectorstore.payloads import payload_of
from tests.vectorstore.snapshots.meddling import silent_on
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


def plain_sql(statement: str, *parameters: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


def create_and_sync(count: int) -> list[UUID]:
    user_ids = create_users(count)
    sync_once()
    return user_ids


def snapshot(folder: Path) -> Path:
    """Of how the collection is now; the server keeps none."""
    (one,) = create()
    path = fetch(one.name, folder).path
    delete([one.name])
    return path


def name(number: int) -> str:
    return f"{collection_name()}_v{number}"


def brought_back(path: Path, **options: Any) -> RestoreResult:
    return restore([path], **options)


def is_as_postgresql_says() -> bool:
    """Through the alias: who is to have a point has it, as their rows say, and nobody else."""
    rows = ProfileEmbedding.objects.filter(user__deleted_at__isnull=True, user__is_staff=False).select_related("user")
    expected = {str(row.pk): (payload_of(row.user, row), row.vector) for row in rows}
    with qdrant() as client:
        records = client.scroll(collection_name(), limit=10_000, with_payload=True, with_vectors=True)[0]
    found = {str(record.id): ({k: v for k, v in (record.payload or {}).items() if k != "version"}, record.vector) for record in records}
    assert found.keys() == expected.keys()
    assert all(found[person][0] == expected[person][0] for person in expected)
    return all(np.allclose(np.array(found[person][1]), np.array(expected[person][1]), atol=1e-6) for person in expected)


def states() -> dict[str, str]:
    return dict(VectorCollection.objects.of(collection_name()).values_list("name", "state"))


def collections() -> set[str]:
    with qdrant() as client:
        return {one.name for one in client.get_collections().collections if one.name.startswith(f"{collection_name()}_v")}


# --- What it restores -----------------------------------------------------------------------------------------------------------


def test_restore__what_has_changed_since_is_as_it_is_now(any_collection: QdrantServer, tmp_path: Path) -> None:
    erased, hidden, moved, aged, *rest = create_and_sync(7)
    path = snapshot(tmp_path)
    plain_sql("DELETE FROM users WHERE id = %s", erased)
    plain_sql("UPDATE users SET deleted_at = now() WHERE id = %s", hidden)
    plain_sql("UPDATE profile_embeddings SET vector = %s WHERE user_id = %s", unit_vector(99), moved)
    plain_sql("UPDATE users SET date_of_birth = date_of_birth - 400 WHERE id = %s", aged)
    create_and_sync(2)
    before = last_allocated()
    done = brought_back(path)
    assert (done.collection, done.replaced, done.retained, done.dropped) == (name(2), name(1), False, (name(1),))
    assert (done.removed, done.written, done.found) == (4, 4, len(rest))
    assert (done.acceptance.users, done.acceptance.points) == (7, 7)
    assert is_as_postgresql_says()
    assert states() == {name(2): "live"}
    assert collections() == {name(2)}
    assert list_snapshots().snapshots == (), "Qdrant keeps what it was sent"
    with qdrant() as client:
        assert alias_target(client) == name(2)
        assert before < highest(client, name(2)) <= last_allocated()
    assert compare().differences == []
    plain_sql("DELETE FROM users WHERE id = %s", rest[0])
    sync_once()
    assert is_as_postgresql_says()


def test_restore__onto_a_server_that_has_lost_everything(collection: QdrantServer, tmp_path: Path) -> None:
    create_and_sync(3)
    path = snapshot(tmp_path)
    (gone,) = ProfileEmbedding.objects.order_by("pk").values_list("pk", flat=True)[:1]
    with qdrant() as client:
        client.delete_collection(name(1))
    plain_sql("DELETE FROM users WHERE id = %s", gone)
    done = brought_back(path)
    assert (done.collection, done.replaced) == (name(2), None)
    assert is_as_postgresql_says()
    assert states() == {name(2): "live"}
    sync_once()
    assert compare().differences == []


def test_restore__the_sequence_is_set_above_what_comes_back(collection: QdrantServer, tmp_path: Path) -> None:
    """PostgreSQL is an older copy too, and allocates versions that the points have already: it would be refused silently for ever."""
    changed, *_ = create_and_sync(3)
    path = snapshot(tmp_path)
    with qdrant() as client:
        newest = highest(client, name(1))
        client.delete_collection(name(1))
    plain_sql("SELECT setval('vector_sync_version', 1, false)")
    brought_back(path)
    assert last_allocated() > newest
    plain_sql("UPDATE profile_embeddings SET vector = %s WHERE user_id = %s", unit_vector(99), changed)
    sync_once()
    assert is_as_postgresql_says()


def test_restore__points_of_nobody(collection: QdrantServer, tmp_path: Path) -> None:
    (person,) = create_and_sync(1)
    with qdrant() as client:
        vector = unit_vector(1)
        client.upsert(name(1), [models.PointStruct(id=7, vector=vector), models.PointStruct(id=str(UUID(int=7)), vector=vector)], wait=True)
        client.set_payload(name(1), {"more": 1}, points=[str(person)], wait=True)
    done = brought_back(snapshot(tmp_path))
    assert (done.removed, done.written, done.found) == (3, 1, 0)
    assert is_as_postgresql_says()


@pytest.mark.parametrize("version", [2**52, 2**53, 2**60, -1, 1.5, [2**60, 1], [7], "x", True])
def test_restore__a_version_that_nobody_drew(collection: QdrantServer, tmp_path: Path, version: Any) -> None:
    """The condition of a write takes some of these for newer than anything, and the highest version in the collection is not seen behind them."""
    odd, *_ = create_and_sync(3)
    with qdrant() as client:
        newest = highest(client, name(1))
        client.set_payload(name(1), {"version": version}, points=[str(odd)], wait=True)
        client.upsert(name(1), [models.PointStruct(id=7, vector=unit_vector(1), payload={"version": version})], wait=True)
    path = snapshot(tmp_path)
    plain_sql("SELECT setval('vector_sync_version', 1, false)")
    done = brought_back(path)
    assert (done.removed, done.written, done.found) == (2, 1, 2)
    assert last_allocated() > newest
    assert is_as_postgresql_says()
    plain_sql("UPDATE profile_embeddings SET vector = %s", unit_vector(99))
    sync_once()
    assert is_as_postgresql_says()


def test_restore__versions_that_are_lists(collection: QdrantServer, tmp_path: Path) -> None:
    """Each number of a list counts for the condition."""
    odd, *_ = create_and_sync(3)
    with qdrant() as client:
        client.set_payload(name(1), {"version": [2**50]}, points=[str(odd)], wait=True)
    done = brought_back(snapshot(tmp_path))
    assert (done.removed, done.written, done.found) == (1, 1, 2)
    assert is_as_postgresql_says()


def test_restore__a_vector_with_a_nan(any_collection: QdrantServer, tmp_path: Path) -> None:
    """Qdrant takes it by gRPC, and gives it by REST as no number at all."""
    spoilt, *_ = create_and_sync(3)
    point = models.PointStruct(id=str(spoilt), vector=[float("nan")] * 512, payload={"version": 1})
    client = QdrantClient(url=any_collection.url, grpc_port=any_collection.grpc_port, prefer_grpc=True, check_compatibility=False)
    with closing(client):
        client.upsert(name(1), [point], wait=True)
    done = brought_back(snapshot(tmp_path))
    assert (done.removed, done.written, done.found) == (1, 1, 2)
    assert is_as_postgresql_says()


def test_restore__snapshots_of_one_that_had_the_name_before(collection: QdrantServer, tmp_path: Path) -> None:
    """As after going back to the first one: the second one is dropped, its snapshots stay on the server, and the next has its name."""
    create_and_sync(1)
    path = snapshot(tmp_path)
    with qdrant() as client:
        client.create_collection(name(2), vectors_config={})
        theirs = client.create_snapshot(name(2))
        assert theirs is not None
        client.delete_collection(name(2))
    of_its_own_name = path.rename(path.with_name(theirs.name))
    assert brought_back(of_its_own_name).collection == name(2)
    assert [(one.name, one.size, one.sha256) for one in list_snapshots().snapshots] == [(theirs.name, theirs.size, theirs.checksum)]


def test_restore__settings_of_then_become_those_of_today(collection: QdrantServer, tmp_path: Path) -> None:
    create_and_sync(1)
    with qdrant() as client:
        client.update_collection(name(1), optimizers_config=models.OptimizersConfigDiff(indexing_threshold=500))
        client.delete_payload_index(name(1), "gender")
        client.update_collection(name(1), metadata={"findme_database": "another", "findme_checkpoint": {"id": "x"}})
    path = snapshot(tmp_path)
    with qdrant() as client:
        client.delete_collection(name(1))
    brought_back(path)
    assert compare().differences == []


# --- Beside others ---------------------------------------------------------------------------------------------------------------


def test_restore__changes_while_it_comes_back(collection: QdrantServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it is noted, workers do not write it: what they wrote then is found by comparing. Afterwards they do. A worker has a connection of its
    own, and drops nothing while another one holds the lock."""
    before, after, *_ = create_and_sync(4)
    path = snapshot(tmp_path)

    def with_a_change_before(*arguments: Any) -> None:
        plain_sql("DELETE FROM users WHERE id = %s", before)
        in_thread(sync_once).result()
        upgrade_collection(*arguments)

    def on_step(line: str) -> None:
        if "was restored from the snapshot" in line:
            plain_sql("UPDATE profile_embeddings SET vector = %s WHERE user_id = %s", unit_vector(99), after)
            in_thread(sync_once).result()
            with qdrant() as client:
                (found,) = client.retrieve(name(2), [str(after)], with_vectors=True)
            assert np.allclose(np.array(found.vector), np.array(unit_vector(99)), atol=1e-6)

    monkeypatch.setattr(f"{restore.__module__}.upgrade_collection", with_a_change_before)
    with printed_steps("findme.vectorstore", on_step):
        done = brought_back(path)
    assert (done.removed, done.written, done.found) == (1, 0, 3)
    assert not QueueEntry.objects.exists()
    assert is_as_postgresql_says()


def test_restore__the_session_that_has_the_lock_is_used_all_along(
    collection: QdrantServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour of uploading: where idle sessions are ended, the lock would be gone, and a worker would drop what is being made."""
    create_and_sync(1)
    path = snapshot(tmp_path)
    monkeypatch.setattr("vectorstore.snapshots.upload.SLICE_SECONDS", 0.05)
    with watched_session() as session:

        def slowly(*arguments: Any, **options: Any) -> None:
            begun = session.last_used()
            wait_until(lambda: session.last_used() > begun)
            upload(*arguments, **options)

        monkeypatch.setattr("vectorstore.snapshots.upload.upload", slowly)
        brought_back(path)


def test_restore__the_gate(collection: QdrantServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create_and_sync(3)
    path = snapshot(tmp_path)
    plain_sql("UPDATE profile_embeddings SET vector = %s", unit_vector(99))
    sync_once()
    monkeypatch.setattr(f"{restore.__module__}.backfill", lambda *_arguments, **_options: BackfillResult(0, 0))
    words = (
        rf"^'{name(2)}' is not accepted: 3 missing \(.*\)\. The alias was not moved\. The restored collection was dropped\. Restore again,"
        r" with another --timeout or --min-recall if that was the cause, or run manage\.py reindex_qdrant\.$"
    )
    with pytest.raises(UserFacingError, match=words):
        brought_back(path)
    monkeypatch.undo()
    assert nothing_is_left_of_it()
    brought_back(path)
    assert is_as_postgresql_says()


# --- What it refuses -------------------------------------------------------------------------------------------------------------


def nothing_is_left_of_it() -> bool:
    with qdrant() as client:
        assert alias_target(client) == name(1)
    assert states() == {name(1): "live"}
    return collections() == {name(1)}


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_restore__a_damaged_file(collection: QdrantServer, tmp_path: Path) -> None:
    create_and_sync(3)
    path = snapshot(tmp_path)
    damage(path)
    words = rf"^{re.escape(repr(str(path)))} is damaged: its SHA-256 is [0-9a-f]{{64}} instead of '[0-9a-f]{{64}}'\. Download the snapshot again\.$"
    with pytest.raises(UserFacingError, match=words):
        brought_back(path)
    assert nothing_is_left_of_it()


def test_restore__another_file_than_was_meant(collection: QdrantServer, tmp_path: Path) -> None:
    create_and_sync(1)
    path = snapshot(tmp_path)
    with pytest.raises(UserFacingError, match="instead of 'abcd'"):
        brought_back(path, sha256="ABCD")
    with pytest.raises(
        UserFacingError,
        match=r"^--sha256 'ABCD' is for one file, but 2 are named\. Omit it: download has written a \.sha256 file for each\.$",
    ):
        restore([path, path], sha256="ABCD")
    assert nothing_is_left_of_it()


def test_restore__changed_on_the_way_to_the_server(collection: QdrantServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After it was hashed here: the server compares once more."""
    create_and_sync(1)
    path = snapshot(tmp_path)

    def and_damaged(path: Path, report: Any) -> str:
        found = sha256_of(path, report)
        damage(path)
        return found

    whole = path.read_bytes()
    monkeypatch.setattr(f"{restore.__module__}.sha256_of", and_damaged)
    with pytest.raises(UserFacingError, match="rejected this: Checksum mismatch"):
        brought_back(path)
    monkeypatch.undo()
    assert nothing_is_left_of_it()
    path.write_bytes(whole)
    brought_back(path)
    assert list_snapshots().snapshots == (), "nor of what was sent before, which Qdrant may have kept"


def test_restore__cut_off(collection: QdrantServer, tmp_path: Path) -> None:
    create_and_sync(1)
    path = snapshot(tmp_path)
    path.with_name(f"{path.name}.sha256").unlink()
    path.write_bytes(path.read_bytes()[:-30_000])
    with pytest.raises(UserFacingError, match=r"is not a complete snapshot of a Qdrant collection"):
        brought_back(path)
    assert nothing_is_left_of_it()


# --- Killed ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.at_length("/snapshots/upload", "/points/query")
@pytest.mark.parametrize("moment", ["/snapshots/upload", "_v2/points/scroll", "_v2/points/delete", "/points/query", "/collections/aliases"])
def test_restore__killed(qdrant_server: QdrantServer, settings: Settings, tmp_path: Path, moment: str) -> None:
    """When the file is sent; before it is noted; while it is compared; in the acceptance check; when the alias is moved. The next run starts clean, and ends as one whole run."""
    code, _, stderr = manage("init_qdrant")
    assert (code, stderr) == (0, "")
    gone, *_ = create_and_sync(4)
    path = snapshot(tmp_path)
    plain_sql("DELETE FROM users WHERE id = %s", gone)
    killed_at(moment, qdrant_server, settings, path)
    with qdrant() as client:
        assert alias_target(client) == name(1)
    sync_once()
    done = brought_back(path)
    assert states() == {done.collection: "live"}
    assert collections() == {done.collection}
    assert is_as_postgresql_says()


def test_restore__after_a_rebuild_that_was_killed_when_the_alias_had_moved(collection: QdrantServer, tmp_path: Path) -> None:
    """And what was live before it is gone."""
    create_and_sync(3)
    path = snapshot(tmp_path)
    with qdrant() as client:
        registry.prepare(make(client), timedelta(0))
        moved = models.CreateAlias(collection_name=name(2), alias_name=collection_name())
        client.update_collection_aliases([models.CreateAliasOperation(create_alias=moved)])
        client.delete_collection(name(1))
    assert states() == {name(1): "live", name(2): "ready"}
    done = brought_back(path)
    assert (done.collection, done.replaced) == (name(3), name(2))
    assert is_as_postgresql_says()
    assert states() == {name(3): "live"}


def test_restore__killed_and_then_rebuilt(qdrant_server: QdrantServer, settings: Settings, tmp_path: Path) -> None:
    """A rebuild does not go on with what was not compared yet: it would take everyone who is there for right."""
    assert manage("init_qdrant")[0] == 0
    changed, *_ = create_and_sync(3)
    path = snapshot(tmp_path)
    plain_sql("UPDATE profile_embeddings SET vector = %s WHERE user_id = %s", unit_vector(99), changed)
    sync_once()
    killed_at("_v2/points/delete", qdrant_server, settings, path)
    assert states()[name(2)] == "building"
    done = reindex()
    assert (done.collection, done.written, done.dropped) == (name(2), 3, (name(1),))
    assert collections() == {name(2)}
    assert is_as_postgresql_says()


def killed_at(moment: str, server: QdrantServer, settings: Settings, path: Path) -> None:
    reached: list[str] = []
    silent = silent_on(server.url, lambda asked: asked.partition("?")[0].endswith(moment), reached)
    with silent as settings.QDRANT_URL, started("qdrant_snapshot", "restore", path) as process:
        wait_until(lambda: process.poll() is not None or bool(reached))
        process.kill()
        reported = process.communicate()
    settings.QDRANT_URL = server.url
    assert process.returncode == -signal.SIGKILL, reported


# --- The command -----------------------------------------------------------------------------------------------------------------


def test_command(collection: QdrantServer, tmp_path: Path) -> None:
    create_and_sync(3)
    path = snapshot(tmp_path)
    code, stdout, stderr = manage("qdrant_snapshot", "restore", path, "--retain", "1h")
    assert (code, stderr) == (0, "")
    assert stdout.splitlines() == [
        f"{name(2)} was restored from the snapshot. Workers write to it from now on.",
        "0 points that differed from PostgreSQL deleted, 0 written, 3 up to date.",
        f"The alias {collection_name()} points to {name(2)}.",
        f"{name(1)} is retained.",
    ]
    assert states() == {name(1): "retained", name(2): "live"}
    code, stdout, stderr = manage("qdrant_snapshot", "restore", path, "--json")
    assert (code, stderr) == (0, "")
    assert json.loads(stdout)["replaced"] == name(2)
    assert registry.live() == name(3)
    code, stdout, stderr = manage("qdrant_snapshot", "restore", tmp_path / "nothing")
    assert (code, stdout) == (2, "")
    assert stderr == f"There is no file {str(tmp_path / 'nothing')!r}. Name a file that manage.py qdrant_snapshot download has written.\n"
