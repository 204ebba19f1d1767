import json
import signal
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.conf import settings as dj_settings
from django.db import connection
from django.db.models.functions import Now
from pytest_django import Settings
from qdrant_client import models

from findme.core.errors import StoreUnavailable, UserFacingError
from tests.factories import ProfileEmbeddingFactory
from tests.qdrant import QdrantServer, started_qdrant
from tests.support.collections import version
from tests.support.commands import manage, started
from tests.support.qdrant_files import places
from tests.support.sessions import watched_session
from tests.support.waiting import wait_until
from tests.vectorstore.snapshots.snapshot_proxy import silent_proxy
from vectorstore.catalog import registry
from vectorstore.catalog.alias import alias_target
from vectorstore.consistency.deletions import last_deletion_time, note_deletion_time
from vectorstore.models import ProfileEmbedding, StoreState, VectorCollection
from vectorstore.purge.files import DELETES_LATER
from vectorstore.purge.purge import PurgeResult, purge
from vectorstore.purge.segments import Segment, segments
from vectorstore.purge.stale_snapshots import Holds
from vectorstore.purge.vacuum import VacuumResult
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.queue.entries import enqueue
from vectorstore.rebuild.reindex import reindex
from vectorstore.schema.initialize import compare, initialize
from vectorstore.snapshots.nodes import Node, every_node, version_of
from vectorstore.snapshots.repository import create, list_snapshots
from vectorstore.sync.worker import sync_once

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.qdrant_server]

FEW, MANY = 30, 260
"""Numbers of users: too few for Qdrant to rewrite a segment by itself, and enough in each of two segments."""

NEEDLE = "collects-unmistakable-things"


@pytest.fixture
def folder(memory_path: Path, settings: Settings, db: None) -> Iterator[Path]:
    """Start a server with the collection and yield its folder, which holds every byte that it stores."""
    with started_qdrant(memory_path) as server:
        _use(server, settings)
        with connection.cursor() as cursor:  # earlier tests have removed users
            cursor.execute("SELECT setval('vector_last_deletion_at', 1)")
        initialize()
        yield memory_path


def _use(server: QdrantServer, settings: Settings) -> None:
    settings.QDRANT_URL, settings.QDRANT_API_KEY, settings.QDRANT_GRPC_PORT = server.url, "", 0
    settings.QDRANT_COLLECTION, settings.QDRANT_TIMEOUT = "users", 2


def create_users(user_count: int) -> ProfileEmbedding:
    """Create ``user_count`` users with points. Return the embedding of one, with ``NEEDLE`` in its payload."""
    ProfileEmbeddingFactory.create_batch(user_count - 1)
    embedding = ProfileEmbeddingFactory.create(interests=[NEEDLE])
    sync_once()
    return embedding


def erase(embedding: ProfileEmbedding) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM users WHERE id = %s", [embedding.pk])
    sync_once()
    with qdrant() as client:
        assert client.retrieve(collection_name(), [str(embedding.pk)]) == []


def traces(embedding: ProfileEmbedding) -> dict[str, bytes]:
    """Return the bytes to search for: vector as in a segment and as in the write-ahead log (CBOR), payload text, and id."""
    with qdrant() as client:
        (found,) = client.retrieve(collection_name(), [str(embedding.pk)], with_vectors=True)
    numbers = np.array(found.vector, dtype=np.float32)[:8]
    return {
        "vector": numbers.tobytes(),
        "vector in the log": b"".join(b"\xfa" + struct.pack(">f", number) for number in numbers[:3]),
        "payload": NEEDLE.encode(),
        "id": str(embedding.pk).encode(),
    }


def is_in_a_reported_segment(folder: Path, needle: bytes) -> bool:
    """Return whether the bytes are in a segment that the server reports, and not only in the files of one that was replaced."""
    with qdrant() as client:
        ids = {one.id for one in segments(every_node(client, ()), version(1))}
    files = (
        path for one in ids for path in (folder / "storage" / "collections" / version(1)).glob(f"*/segments/{one}/**/*") if path.is_file()
    )
    return any(needle in path.read_bytes() for path in files)


def server_deletes_files_later() -> bool:
    """Return whether the server deletes the files of a replaced segment later than it replaces the segment."""
    with qdrant() as client:
        return version_of(every_node(client, ())[0]) >= DELETES_LATER


# --- Bytes -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.at_length(str(FEW))
@pytest.mark.parametrize("user_count", [FEW, MANY])
def test_purge__leaves_no_byte_of_an_erased_user(folder: Path, user_count: int) -> None:
    embedding = create_users(user_count)
    needles = traces(embedding)
    assert places(folder, needles) == {"segments": {"vector", "payload", "id"}, "wal": {"vector in the log", "payload", "id"}}
    (before,) = create()
    erase(embedding)
    assert places(folder, needles)["segments"] == {"vector", "payload", "id"}
    assert places(folder, needles)["snapshots"] == {"vector", "vector in the log", "payload", "id"}
    wait_until(lambda: time.time() > last_deletion_time().timestamp() + 4)
    (after,) = create()

    result = purge(dry_run=True)
    assert result.collections == (VacuumResult(version(1), 0, 0, 1, small=1 if user_count == FEW else 0),)
    assert [(one.snapshot.name, one.holds, one.deleted) for one in result.stale_snapshots] == [
        (after.name, Holds.LOG, False),
        (before.name, Holds.POINTS, False),
    ]
    assert (result.logs, result.dropped, result.pending, result.clean) == ((version(1),), (), 0, False)
    assert places(folder, needles)["segments"] == {"vector", "payload", "id"}

    result = purge()
    proven = not server_deletes_files_later()
    assert [(one.deleted, one.remaining, one.proven) for one in result.collections] == [(1, 0, proven)]
    assert (result.logs, result.clean) == ((version(1),), False)
    if not proven:
        result = purge(storage=[folder / "storage"])
        assert result.collections == (VacuumResult(version(1), 0, 0, 0),)
        assert (result.logs, result.clean) == ((version(1),), False)
    assert places(folder, needles).keys() == {"wal", "snapshots"}
    assert compare().differences == []
    assert StoreState.current().saved_settings == {}

    result = purge(snapshots=True)
    assert result.collections == (VacuumResult(version(1), 0, 0, 0, proven=proven),)
    assert [(one.snapshot.name, one.deleted) for one in result.stale_snapshots] == [(before.name, True), (after.name, False)]
    assert [one.name for one in list_snapshots().snapshots] == [after.name]

    result = purge(snapshots=True, log=True, storage=[folder / "storage"])
    assert result.dropped == (version(1),)
    assert [(one.snapshot.name, one.snapshot.collection, one.deleted) for one in result.stale_snapshots] == [(after.name, version(1), True)]
    assert places(folder, needles) == {}
    assert (result.logs, result.clean) == ((), True)
    with qdrant() as client:
        assert alias_target(client) == version(2)
        assert client.count(collection_name(), exact=True).count == user_count - 1
    assert compare().differences == []
    assert purge().clean


def test_purge__nothing_was_erased__is_clean(folder: Path) -> None:
    """No user was removed since the collection was created, so its snapshot holds no erased user."""
    create_users(3)
    create()
    result = purge()
    assert result == PurgeResult(False, (VacuumResult(version(1), 0, 0, 0),), (), (), (), (), 0)
    assert result.clean


def test_purge__time_of_the_removal_is_unknown__reports_snapshots_and_logs(folder: Path) -> None:
    """The collection existed before the removal was recorded."""
    create_users(3)
    note_deletion_time()
    create()
    result = purge()
    assert [one.holds for one in result.stale_snapshots] == [Holds.POINTS]
    assert result.logs == (version(1),)


def test_purge__snapshots_of_a_dropped_collection__are_deleted(folder: Path) -> None:
    """Qdrant keeps their files when it deletes the collection, but does not list them."""
    embedding = create_users(FEW)
    needles = traces(embedding)
    (before,) = create()
    reindex()
    erase(embedding)
    assert list_snapshots().snapshots == ()
    result = purge(log=True)
    assert places(folder, needles).keys() == {"snapshots"}
    assert [(one.snapshot.name, one.deleted) for one in result.stale_snapshots] == [(before.name, False)]
    assert not result.clean
    result = purge(snapshots=True)
    assert [(one.snapshot.name, one.deleted) for one in result.stale_snapshots] == [(before.name, True)]
    assert places(folder, needles) == {}
    assert result.clean
    with qdrant() as client:
        assert [one.name for one in client.get_collections().collections] == [version(3)]


def test_purge__snapshots_of_an_earlier_collection_of_the_same_name__are_deleted(folder: Path) -> None:
    """After a rollback and a drop, the next collection gets the same name, and the old snapshots."""
    create_users(3)
    with qdrant() as client:
        client.create_collection(version(2), vectors_config={})
        client.create_snapshot(version(2))
        client.delete_collection(version(2))
    (found,) = purge().stale_snapshots
    assert found.snapshot.collection == version(2)
    wait_until(lambda: time.time() > found.snapshot.made_at.timestamp() + 3)
    reindex()
    assert [one.collection for one in list_snapshots().snapshots] == [version(2)]
    result = purge(snapshots=True)
    assert [(one.snapshot.collection, one.holds, one.deleted) for one in result.stale_snapshots] == [(version(2), Holds.POINTS, True)]
    assert result.clean


def test_purge__snapshots_of_a_shard_and_of_the_server__deletes_the_first_and_reports_the_second(folder: Path) -> None:
    """``qdrant_snapshot`` neither creates nor lists such snapshots."""
    embedding = create_users(FEW)
    needles = traces(embedding)
    server_snapshot, shard_snapshot = create_other_snapshots()
    erase(embedding)
    assert list_snapshots().snapshots == ()
    found = [(shard_snapshot, version(1), 0, Holds.POINTS), (server_snapshot, "", None, Holds.POINTS)]
    result = purge(dry_run=True)
    assert [(one.snapshot.name, one.snapshot.collection, one.snapshot.shard, one.holds) for one in result.stale_snapshots] == found
    assert not any(one.deleted for one in result.stale_snapshots)

    result = purge(snapshots=True, log=True)
    assert [(one.snapshot.name, one.deleted) for one in result.stale_snapshots] == [(server_snapshot, False), (shard_snapshot, True)]
    assert not result.clean
    assert places(folder, needles).keys() == {"snapshots"}
    code, stdout, stderr = manage("purge_qdrant", "--snapshots", "--log")
    assert (code, stderr) == (1, "")
    (line,) = [line for line in stdout.splitlines() if server_snapshot in line]
    made_at = f"{result.stale_snapshots[0].snapshot.made_at:%Y-%m-%d %H:%M:%S} UTC"
    assert line == (
        f"The snapshot {server_snapshot} of {made_at} is of the whole server {dj_settings.QDRANT_URL} and may hold erased points. Delete it when no service"
        f" needs it any more: curl -X DELETE {dj_settings.QDRANT_URL}/snapshots/{server_snapshot}"
    )
    with qdrant() as client:
        client.delete_full_snapshot(server_snapshot, wait=True)
    assert places(folder, needles) == {}
    assert purge().clean


def test_purge__server_snapshot_holds_a_log__is_reported(folder: Path) -> None:
    """It was created after the erasure and holds the log of that time, which was purged since."""
    embedding = create_users(FEW)
    needles = traces(embedding)
    erase(embedding)
    purge()
    wait_until(lambda: time.time() > last_deletion_time().timestamp() + 4)
    server_snapshot, _ = create_other_snapshots()
    result = purge(log=True, snapshots=True)
    first, *_ = result.stale_snapshots
    assert (first.snapshot.name, first.holds, first.deleted) == (server_snapshot, Holds.LOG, False)
    assert not result.clean
    assert places(folder, needles).keys() == {"snapshots"}
    VectorCollection.objects.update(live_since=Now() - timedelta(days=1))
    assert purge().clean, "as if the snapshot were much newer than the collection"


def test_purge__shard_snapshots_of_a_dropped_collection__are_deleted(folder: Path, settings: Settings) -> None:
    settings.QDRANT_SHARD_NUMBER = 3
    create_users(1)
    reindex()
    embedding = create_users(FEW)
    needles = traces(embedding)
    with qdrant() as client:
        for shard in range(3):
            client.create_shard_snapshot(version(2), shard, wait=True)
    reindex()
    erase(embedding)
    result = purge(snapshots=True)
    assert [(one.snapshot.collection, one.snapshot.shard, one.deleted) for one in result.stale_snapshots] == [
        (version(2), n, True) for n in range(3)
    ]
    assert "snapshots" not in places(folder, needles)


def create_other_snapshots() -> tuple[str, str]:
    """Create a snapshot of the whole server and one of a shard. Return their names."""
    with qdrant() as client:
        server_snapshot, shard_snapshot = client.create_full_snapshot(wait=True), client.create_shard_snapshot(version(1), 0, wait=True)
    assert server_snapshot is not None
    assert shard_snapshot is not None
    return server_snapshot.name, shard_snapshot.name


def test_purge__unregistered_collection__is_reported_and_kept(folder: Path) -> None:
    create_users(3)
    with qdrant() as client:
        client.create_collection(version(7), vectors_config={})
    result = purge(log=True)
    assert (result.unknown, result.clean) == ((version(7),), False)
    assert result.dropped == (version(1),)


def test_purge__user_on_the_queue__is_reported_as_pending(folder: Path) -> None:
    embedding = create_users(3)
    enqueue([embedding.pk])
    result = purge()
    assert (result.pending, result.clean) == (1, False)


# --- Proof in the storage folder -------------------------------------------------------------------------------------------------


def test_purge__replaced_segment_is_still_in_the_folder__is_not_proven(folder: Path) -> None:
    """A folder that no server reports as a segment belongs to a replaced one. While it exists, the purge is not proven."""
    create_users(3)
    replaced_segment = folder / "storage" / "collections" / version(1) / "0" / "segments" / "3f8a1c1e-0f5e-4f2b-9a52-6a6f0d1f2b33"
    replaced_segment.mkdir()
    (result,) = purge(storage=[folder / "storage"], seconds=0.3).collections
    assert (result.proven, result.leftover) == (False, 1)
    code, stdout, stderr = manage("purge_qdrant", "--storage", folder / "storage", "--wait", "1")
    assert (code, stderr) == (1, "")
    assert stdout.splitlines() == [
        (
            f"{version(1)}: segments rewritten: 0, deleted points purged with them: 0;"
            " folders of replaced segments that Qdrant has not deleted yet: 1. Run it again."
        ),
        "Erased data may remain, as listed above.",
    ]
    replaced_segment.rmdir()
    assert purge(storage=[folder / "storage"]).clean


@pytest.mark.parametrize("wrong", ["", "snapshots", "missing"])
def test_purge__another_storage_folder_is_refused(folder: Path, wrong: str) -> None:
    erase(create_users(FEW))
    with pytest.raises(
        UserFacingError,
        match=rf"^The segment [0-9a-f-]{{36}} of '{version(1)}' is not in --storage '{folder / wrong}': nothing was changed\.",
    ):
        purge(storage=[folder / wrong])
    assert purge(dry_run=True).collections[0].remaining == 1


def test_purge__folder_of_a_dropped_collection_still_exists__waits_for_its_deletion(folder: Path) -> None:
    erase(create_users(FEW))
    dropped_folder = folder / "storage" / ".deleted" / "random"
    dropped_folder.mkdir(parents=True)
    with pytest.raises(UserFacingError, match=r"still exists: Qdrant deletes the folder of a dropped collection in the background\."):
        purge(log=True, storage=[folder / "storage"], seconds=0.3)
    dropped_folder.rmdir()
    assert purge(storage=[folder / "storage"]).clean


def test_purge_qdrant__without_the_storage_folder__does_not_claim_what_it_cannot_see(folder: Path) -> None:
    """A server that deletes files later gives no proof, also in the next run."""
    erase(create_users(FEW))
    for _ in range(2):
        code, stdout, stderr = manage("purge_qdrant")
        assert (code, stderr) == (1, "")
        assert ("and does not report it: check it with --storage FOLDER" in stdout) == server_deletes_files_later()
        assert ("none remains" in stdout) != server_deletes_files_later()


# --- While Qdrant rewrites segments by itself ----------------------------------------------------------------------------------------


def test_purge__graph_is_being_built__rewrites_the_new_segment(folder: Path) -> None:
    """Qdrant reports points deleted in such a segment only when the new one is complete: their bytes are copied into it.

    A point that is deleted before it is copied leaves no bytes, so the test deletes several users.
    """
    embeddings = ProfileEmbeddingFactory.create_batch(5)
    sync_once()
    _add_points(3000)
    for attempt, embedding in enumerate(embeddings):
        needle = traces(embedding)["vector"]
        _have_graphs_built(800 + attempt)
        erase(embedding)
        with qdrant() as client:
            assert client.get_collection(version(1)).status == "yellow"
        (result,) = purge(dry_run=True).collections
        assert result == VacuumResult(version(1), 0, 0, int(is_in_a_reported_segment(folder, needle)))
        if result.remaining:
            break
    assert result.remaining
    (result,) = purge(storage=[folder / "storage"]).collections
    assert (result.deleted, result.remaining, result.proven) == (1, 0, True)
    assert "segments" not in places(folder, {"vector": needle})

    _have_graphs_built(700)
    with pytest.raises(UserFacingError) as raised:
        purge(seconds=0)
    assert str(raised.value) == (
        f"Qdrant is still rewriting segments of '{version(1)}' after 0 s without progress. Wait until the collection is green, or increase"
        " --wait, then run the command again."
    )


@pytest.mark.parametrize("module", ["vacuum", "segments"])
def test_purge__long_wait__keeps_the_session_with_the_lock_active(folder: Path, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    """If PostgreSQL ended the idle session, the lock would be lost during the wait for a segment."""
    erase(create_users(MANY))
    first: list[Segment] = []
    used: set[datetime] = set()

    def segments_slowly(nodes: Sequence[Node], collection: str) -> list[Segment]:
        """Report no change until the waiting process has used the session twice."""
        found = segments(nodes, collection)
        first.extend(found if not first else [])
        used.add(session.last_used())
        return found if len(used) > 2 else [replace(one, busy=True) for one in first]

    with watched_session() as session:
        monkeypatch.setattr(f"vectorstore.purge.{module}.segments", segments_slowly)
        (result,) = purge(seconds=10).collections
    assert (result.deleted, result.remaining) == (1, 0)


@pytest.mark.parametrize("module", ["vacuum", "segments"])
def test_purge__qdrant_reports_progress__waits_longer(folder: Path, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    """A large segment takes hours. Only the progress that Qdrant reports changes meanwhile."""
    erase(create_users(MANY))
    with qdrant() as client:
        first = segments(every_node(client, ()), version(1))
    steps = count()

    def segments_slowly(nodes: Sequence[Node], collection: str) -> list[Segment]:
        return [replace(one, busy=True) for one in first] if next(steps) < 10 else segments(nodes, collection)

    monkeypatch.setattr(f"vectorstore.purge.{module}.segments", segments_slowly)
    with pytest.raises(UserFacingError):
        purge(seconds=0.15)
    steps = count()
    monkeypatch.setattr("vectorstore.purge.segments.running_optimizations", lambda _client, _collection: str(next(steps)))
    (result,) = purge(seconds=0.15).collections
    assert result.remaining == 0


def _add_points(count: int) -> None:
    """Write points without users, which is faster than creating users."""
    vectors = np.random.default_rng(1).normal(size=(count, 512)).tolist()
    ids: list[models.ExtendedPointId] = [*range(count)]
    with qdrant() as client:
        client.upsert(version(1), models.Batch(ids=ids, vectors=vectors), wait=True)


def _have_graphs_built(ef_construct: int) -> None:
    """Have Qdrant build slow graphs, again for each new value. Return when it builds them."""
    with qdrant() as client:
        optimizers, graph = models.OptimizersConfigDiff(indexing_threshold=100), models.HnswConfigDiff(m=32, ef_construct=ef_construct)
        client.update_collection(version(1), optimizers_config=optimizers, hnsw_config=graph)
        wait_until(lambda: client.get_collection(version(1)).status == "yellow")


# --- Retained collections ------------------------------------------------------------------------------------------------------------


def test_purge__retained_collection__needs_drop_retained_for_its_log(folder: Path) -> None:
    embedding = create_users(FEW)
    needles = traces(embedding)
    reindex(retain=timedelta(hours=1))
    erase(embedding)
    with pytest.raises(UserFacingError) as raised:
        purge(log=True, snapshots=True)
    assert str(raised.value) == (
        f"'{version(1)}' is retained and has its own write-ahead log: nothing was changed. Add --drop-retained (reindex_qdrant --rollback is then"
        " impossible), or wait until its retention ends."
    )
    assert places(folder, needles)["segments"]
    result = purge()
    assert {one.collection: (one.deleted, one.remaining) for one in result.collections} == {version(1): (1, 0), version(2): (1, 0)}
    assert set(result.logs) == {version(1), version(2)}
    result = purge(log=True, drop_retained=True)
    assert result.dropped == (version(1), version(2))
    assert places(folder, needles) == {}
    assert result.clean


def test_purge__node_is_unavailable__keeps_the_retained_collection(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No collection could be built, so the retained one stays available for a rollback."""
    create_users(3)
    reindex(retain=timedelta(hours=1))

    def fail(_client: Any) -> None:
        raise StoreUnavailable("A node is dead. Nothing was begun.")

    monkeypatch.setattr(f"{purge.__module__}.require_all_nodes", fail)
    with pytest.raises(StoreUnavailable, match=r"^A node is dead\. Nothing was begun\.$"):
        purge(log=True, drop_retained=True)
    assert registry.retained() == [version(1)]
    purge(drop_retained=True)
    assert registry.retained() == []


# --- Killed ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user_count", "moment"),
    [(MANY, "before the settings change"), (MANY, "after the settings change"), (FEW, "after the settings change")],
)
def test_purge__killed__next_run_restores_the_settings(folder: Path, settings: Settings, user_count: int, moment: str) -> None:
    """After the next run, nothing differs from the definition."""
    erase(create_users(user_count))
    with qdrant() as client:
        before = client.get_collection(version(1)).config
    url, changes, reached = settings.QDRANT_URL, list[str](), list[str]()

    def is_silent(request: str) -> bool:
        if request.startswith("PATCH "):
            changes.append(request)
            return moment != "after the settings change"
        return bool(changes) and request.startswith("GET /telemetry")

    with silent_proxy(url, is_silent, reached) as settings.QDRANT_URL, started("purge_qdrant") as process:
        wait_until(lambda: process.poll() is not None or bool(reached))
        process.kill()
        output = process.communicate()
    settings.QDRANT_URL = url
    assert process.returncode == -signal.SIGKILL, output
    changed = (
        {"deleted_threshold": {"before": 0.2, "during": 0.0}, "vacuum_min_vector_number": {"before": 1000, "during": 100}}
        if user_count == MANY
        else {"on_disk_payload": {"before": True, "during": False}}
    )
    assert StoreState.current().saved_settings == {version(1): changed}
    assert bool(compare().differences) == (moment == "after the settings change")
    assert [(one.remaining) for one in purge().collections] == [0]
    with qdrant() as client:
        assert client.get_collection(version(1)).config == before
    assert compare().differences == []
    assert StoreState.current().saved_settings == {}


def test_purge__saved_settings_were_changed_since__follows_the_definition(folder: Path) -> None:
    create_users(3)
    state = StoreState.current()
    state.saved_settings = {
        version(1): {
            "deleted_threshold": {"before": 0.7, "during": 0.0},
            "vacuum_min_vector_number": {"before": 1234, "during": 100},
        },
        version(9): {"on_disk_payload": {"before": True, "during": False}},
    }
    state.save()
    purge()
    assert compare().differences == []
    assert StoreState.current().saved_settings == {}


# --- The command -----------------------------------------------------------------------------------------------------------------


def test_purge_qdrant__prints_what_remains_and_what_it_deletes(folder: Path) -> None:
    embedding = create_users(FEW)
    (before,) = create()
    erase(embedding)
    made_at = f"{before.made_at:%Y-%m-%d %H:%M:%S} UTC"
    code, stdout, stderr = manage("purge_qdrant", "--dry-run")
    assert (code, stderr) == (1, "")
    assert stdout.splitlines() == [
        f"{version(1)}: deleted points in its segments: 1.",
        f"The snapshot {before.name} of {made_at} is older than the last erasure: --snapshots deletes it.",
        f"{version(1)}: its write-ahead log may hold erased points. Add --log to rebuild the collection with a new log.",
        "Erased data may remain, as listed above.",
    ]
    code, stdout, stderr = manage("purge_qdrant", "--dry-run", "--snapshots", "--log")
    assert (code, stderr) == (1, "")
    assert stdout.splitlines() == [
        f"{version(1)} would be dropped, with its write-ahead log.",
        f"{version(1)}: deleted points in its segments: 1.",
        f"The snapshot {before.name} of {made_at} would be deleted.",
        "Erased data may remain, as listed above.",
    ]
    assert [one.name for one in list_snapshots().snapshots] == [before.name]
    code, stdout, stderr = manage("purge_qdrant", "--snapshots", "--log", "--json")
    assert (code, stderr) == (0, "")
    output = json.loads(stdout)
    assert output["clean"]
    assert output["purged"]["dropped"] == [version(1)]
