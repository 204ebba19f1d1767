import json
import os
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
from tests.support.commands import manage, started
from tests.support.sessions import watched_session
from tests.support.waiting import wait_until
from tests.vectorstore.snapshots.meddling import silent_on
from vectorstore.catalog import registry
from vectorstore.catalog.alias import alias_target
from vectorstore.models import ProfileEmbedding, StoreState, VectorCollection
from vectorstore.purge.files import DELETES_LATER
from vectorstore.purge.purge import PurgeResult, purge
from vectorstore.purge.segments import Segment, segments
from vectorstore.purge.stale_snapshots import Holds
from vectorstore.purge.vacuum import VacuumResult
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.queue.deletions import last_removal, note_removal
from vectorstore.queue.entries import enqueue
from vectorstore.rebuild.reindex import reindex
from vectorstore.schema.initialize import compare, initialize
from vectorstore.snapshots.nodes import Node, every_node, version_of
from vectorstore.snapshots.repository import create, list_snapshots
from vectorstore.sync.worker import sync_once

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.qdrant_server]

FEW, MANY = 30, 260
"""People of whom no segment has as many as Qdrant rewrites by itself, and of whom each of two has."""

NEEDLE = "collects-unmistakable-things"


@pytest.fixture
def folder(memory_path: Path, settings: Settings, db: None) -> Iterator[Path]:
    """Of a server of the test's own, with the collection as it is defined: every byte that it keeps is in there."""
    with started_qdrant(memory_path) as server:
        _use(server, settings)
        with connection.cursor() as cursor:  # the tests before this one have removed people
            cursor.execute("SELECT setval('vector_last_deletion_at', 1)")
        initialize()
        yield memory_path


def _use(server: QdrantServer, settings: Settings) -> None:
    settings.QDRANT_URL, settings.QDRANT_API_KEY, settings.QDRANT_GRPC_PORT = server.url, "", 0
    settings.QDRANT_COLLECTION, settings.QDRANT_TIMEOUT = "people", 2


def name(number: int) -> str:
    return f"{collection_name()}_v{number}"


def someone_among(how_many: int) -> ProfileEmbedding:
    """Somebody among so many people, all of them with a point."""
    ProfileEmbeddingFactory.create_batch(how_many - 1)
    someone = ProfileEmbeddingFactory.create(interests=[NEEDLE])
    sync_once()
    return someone


def erase(someone: ProfileEmbedding) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM users WHERE id = %s", [someone.pk])
    sync_once()
    with qdrant() as client:
        assert client.retrieve(collection_name(), [str(someone.pk)]) == []


def traces(someone: ProfileEmbedding) -> dict[str, bytes]:
    """Of somebody who has a point: their vector as a segment has it, and as the write-ahead log has it (CBOR), and a text of their payload."""
    with qdrant() as client:
        (found,) = client.retrieve(collection_name(), [str(someone.pk)], with_vectors=True)
    numbers = np.array(found.vector, dtype=np.float32)[:8]
    return {
        "vector": numbers.tobytes(),
        "vector in the log": b"".join(b"\xfa" + struct.pack(">f", number) for number in numbers[:3]),
        "payload": NEEDLE.encode(),
        "id": str(someone.pk).encode(),
    }


def where(folder: Path, needles: dict[str, bytes]) -> dict[str, set[str]]:
    """In which of the server's places a byte of these is: the segments of its collections, their logs, snapshots, or anywhere else."""
    found: dict[str, set[str]] = {}
    for path in (Path(parent, file) for parent, _, files in os.walk(folder) for file in files if file != "qdrant.log"):
        parts = path.relative_to(folder).parts
        place = next((part for part in parts if part in {"segments", "wal", "snapshots"}), "elsewhere")
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            continue
        for what, needle in needles.items():
            if needle in content:
                found.setdefault(place, set()).add(what)
    return found


def is_in_a_reported_segment(folder: Path, needle: bytes) -> bool:
    """Return whether the bytes are in a segment that the server reports, and not only in the files of one that was replaced."""
    with qdrant() as client:
        ids = {one.id for one in segments(every_node(client, ()), name(1))}
    files = (
        path for one in ids for path in (folder / "storage" / "collections" / name(1)).glob(f"*/segments/{one}/**/*") if path.is_file()
    )
    return any(needle in path.read_bytes() for path in files)


def deletes_files_later() -> bool:
    """Return whether the server deletes the files of a replaced segment later than it replaces the segment."""
    with qdrant() as client:
        return version_of(every_node(client, ())[0]) >= DELETES_LATER


def purged(**options: Any) -> PurgeResult:
    return purge(**options)


# --- Bytes -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.at_length(str(FEW))
@pytest.mark.parametrize("how_many", [FEW, MANY])
def test_purge__no_byte_is_left(folder: Path, how_many: int) -> None:
    someone = someone_among(how_many)
    needles = traces(someone)
    assert where(folder, needles) == {"segments": {"vector", "payload", "id"}, "wal": {"vector in the log", "payload", "id"}}
    (before,) = create()
    erase(someone)
    assert where(folder, needles)["segments"] == {"vector", "payload", "id"}
    assert where(folder, needles)["snapshots"] == {"vector", "vector in the log", "payload", "id"}
    wait_until(lambda: time.time() > last_removal().timestamp() + 4)
    (after,) = create()

    done = purged(dry_run=True)
    assert done.collections == (VacuumResult(name(1), 0, 0, 1, small=1 if how_many == FEW else 0),)
    assert [(one.snapshot.name, one.holds, one.deleted) for one in done.stale_snapshots] == [
        (after.name, Holds.LOG, False),
        (before.name, Holds.POINTS, False),
    ]
    assert (done.logs, done.dropped, done.pending, done.clean) == ((name(1),), (), 0, False)
    assert where(folder, needles)["segments"] == {"vector", "payload", "id"}

    done = purged()
    proven = not deletes_files_later()
    assert [(one.deleted, one.remaining, one.proven) for one in done.collections] == [(1, 0, proven)]
    assert (done.logs, done.clean) == ((name(1),), False)
    if not proven:
        done = purged(storage=[folder / "storage"])
        assert done.collections == (VacuumResult(name(1), 0, 0, 0),)
        assert (done.logs, done.clean) == ((name(1),), False)
    assert where(folder, needles).keys() == {"wal", "snapshots"}
    assert compare().differences == []
    assert StoreState.current().saved_optimizer_settings == {}

    done = purged(snapshots=True)
    assert done.collections == (VacuumResult(name(1), 0, 0, 0, proven=proven),)
    assert [(one.snapshot.name, one.deleted) for one in done.stale_snapshots] == [(before.name, True), (after.name, False)]
    assert [one.name for one in list_snapshots().snapshots] == [after.name]

    done = purged(snapshots=True, log=True, storage=[folder / "storage"])
    assert done.dropped == (name(1),)
    assert [(one.snapshot.name, one.snapshot.collection, one.deleted) for one in done.stale_snapshots] == [(after.name, name(1), True)]
    assert where(folder, needles) == {}
    assert (done.logs, done.clean) == ((), True)
    with qdrant() as client:
        assert alias_target(client) == name(2)
        assert client.count(collection_name(), exact=True).count == how_many - 1
    assert compare().differences == []
    assert purged().clean


def test_purge__nothing_was_erased(folder: Path) -> None:
    """Since the collection was made: a snapshot of it holds nobody who is gone."""
    someone_among(3)
    create()
    done = purged()
    assert done == PurgeResult(False, (VacuumResult(name(1), 0, 0, 0),), (), (), (), (), 0)
    assert done.clean


def test_purge__a_collection_of_before(folder: Path) -> None:
    """Whoever was removed before it was noted was removed all the same."""
    someone_among(3)
    note_removal()
    create()
    done = purged()
    assert [one.holds for one in done.stale_snapshots] == [Holds.POINTS]
    assert done.logs == (name(1),)


def test_purge__snapshots_of_a_collection_that_is_gone(folder: Path) -> None:
    """Qdrant keeps their files when it deletes the collection, and shows them to nobody."""
    someone = someone_among(FEW)
    needles = traces(someone)
    (before,) = create()
    reindex()
    erase(someone)
    assert list_snapshots().snapshots == ()
    done = purged(log=True)
    assert where(folder, needles).keys() == {"snapshots"}
    assert [(one.snapshot.name, one.deleted) for one in done.stale_snapshots] == [(before.name, False)]
    assert not done.clean
    done = purged(snapshots=True)
    assert [(one.snapshot.name, one.deleted) for one in done.stale_snapshots] == [(before.name, True)]
    assert where(folder, needles) == {}
    assert done.clean
    with qdrant() as client:
        assert [one.name for one in client.get_collections().collections] == [name(3)]


def test_purge__snapshots_of_one_that_had_the_name_before(folder: Path) -> None:
    """As after going back to the first one: the second one is dropped, and the next has its name, and its snapshots."""
    someone_among(3)
    with qdrant() as client:
        client.create_collection(name(2), vectors_config={})
        client.create_snapshot(name(2))
        client.delete_collection(name(2))
    (found,) = purged().stale_snapshots
    assert found.snapshot.collection == name(2)
    wait_until(lambda: time.time() > found.snapshot.made_at.timestamp() + 3)
    reindex()
    assert [one.collection for one in list_snapshots().snapshots] == [name(2)]
    done = purged(snapshots=True)
    assert [(one.snapshot.collection, one.holds, one.deleted) for one in done.stale_snapshots] == [(name(2), Holds.POINTS, True)]
    assert done.clean


def test_purge__snapshots_of_a_shard_and_of_the_server(folder: Path) -> None:
    """Which qdrant_snapshot neither makes nor lists."""
    someone = someone_among(FEW)
    needles = traces(someone)
    of_server, of_shard = others_snapshots()
    erase(someone)
    assert list_snapshots().snapshots == ()
    found = [(of_shard, name(1), 0, Holds.POINTS), (of_server, "", None, Holds.POINTS)]
    done = purged(dry_run=True)
    assert [(one.snapshot.name, one.snapshot.collection, one.snapshot.shard, one.holds) for one in done.stale_snapshots] == found
    assert not any(one.deleted for one in done.stale_snapshots)

    done = purged(snapshots=True, log=True)
    assert [(one.snapshot.name, one.deleted) for one in done.stale_snapshots] == [(of_server, False), (of_shard, True)]
    assert not done.clean
    assert where(folder, needles).keys() == {"snapshots"}
    code, stdout, stderr = manage("purge_qdrant", "--snapshots", "--log")
    assert (code, stderr) == (1, "")
    (line,) = [line for line in stdout.splitlines() if of_server in line]
    made_at = f"{done.stale_snapshots[0].snapshot.made_at:%Y-%m-%d %H:%M:%S} UTC"
    assert line == (
        f"The snapshot {of_server} of {made_at} is of the whole server {dj_settings.QDRANT_URL} and may hold erased points. Delete it when no service"
        f" needs it any more: curl -X DELETE {dj_settings.QDRANT_URL}/snapshots/{of_server}"
    )
    with qdrant() as client:
        client.delete_full_snapshot(of_server, wait=True)
    assert where(folder, needles) == {}
    assert purged().clean


def test_purge__a_snapshot_of_the_server_with_a_log(folder: Path) -> None:
    """Made after the erasure: it holds the log that was there then, also when that is gone since."""
    someone = someone_among(FEW)
    needles = traces(someone)
    erase(someone)
    purged()
    wait_until(lambda: time.time() > last_removal().timestamp() + 4)
    of_server, _ = others_snapshots()
    done = purged(log=True, snapshots=True)
    first, *_ = done.stale_snapshots
    assert (first.snapshot.name, first.holds, first.deleted) == (of_server, Holds.LOG, False)
    assert not done.clean
    assert where(folder, needles).keys() == {"snapshots"}
    VectorCollection.objects.update(live_since=Now() - timedelta(days=1))
    assert purged().clean, "as if it had been made long after the collection"


def test_purge__snapshots_of_shards_of_a_collection_that_is_gone(folder: Path, settings: Settings) -> None:
    settings.QDRANT_SHARD_NUMBER = 3
    someone_among(1)
    reindex()
    someone = someone_among(FEW)
    needles = traces(someone)
    with qdrant() as client:
        for shard in range(3):
            client.create_shard_snapshot(name(2), shard, wait=True)
    reindex()
    erase(someone)
    done = purged(snapshots=True)
    assert [(one.snapshot.collection, one.snapshot.shard, one.deleted) for one in done.stale_snapshots] == [
        (name(2), n, True) for n in range(3)
    ]
    assert "snapshots" not in where(folder, needles)


def others_snapshots() -> tuple[str, str]:
    """The names of one of the whole server and one of a shard."""
    with qdrant() as client:
        of_server, of_shard = client.create_full_snapshot(wait=True), client.create_shard_snapshot(name(1), 0, wait=True)
    assert of_server is not None
    assert of_shard is not None
    return of_server.name, of_shard.name


def test_purge__a_collection_that_nobody_has_noted(folder: Path) -> None:
    someone_among(3)
    with qdrant() as client:
        client.create_collection(name(7), vectors_config={})
    done = purged(log=True)
    assert (done.unknown, done.clean) == ((name(7),), False)
    assert done.dropped == (name(1),)


def test_purge__people_who_wait(folder: Path) -> None:
    someone = someone_among(3)
    enqueue([someone.pk])
    done = purged()
    assert (done.pending, done.clean) == (1, False)


# --- Proof in the storage folder -------------------------------------------------------------------------------------------------


def test_purge__waits_until_replaced_segments_are_gone_from_the_folder(folder: Path) -> None:
    """A folder that no server reports as a segment is one that was replaced: nothing is said to be proven while it is there."""
    someone_among(3)
    left_behind = folder / "storage" / "collections" / name(1) / "0" / "segments" / "3f8a1c1e-0f5e-4f2b-9a52-6a6f0d1f2b33"
    left_behind.mkdir()
    (done,) = purged(storage=[folder / "storage"], seconds=0.3).collections
    assert (done.proven, done.leftover) == (False, 1)
    code, stdout, stderr = manage("purge_qdrant", "--storage", folder / "storage", "--wait", "1")
    assert (code, stderr) == (1, "")
    assert stdout.splitlines() == [
        (
            f"{name(1)}: segments rewritten: 0, deleted points purged with them: 0;"
            " folders of replaced segments that Qdrant has not deleted yet: 1. Run it again."
        ),
        "Erased data may remain, as listed above.",
    ]
    left_behind.rmdir()
    assert purged(storage=[folder / "storage"]).clean


@pytest.mark.parametrize("wrong", ["", "snapshots", "missing"])
def test_purge__another_storage_folder_is_refused(folder: Path, wrong: str) -> None:
    erase(someone_among(FEW))
    with pytest.raises(
        UserFacingError,
        match=rf"^The segment [0-9a-f-]{{36}} of '{name(1)}' is not in --storage '{folder / wrong}': nothing was changed\.",
    ):
        purged(storage=[folder / wrong])
    assert purged(dry_run=True).collections[0].remaining == 1


def test_purge__a_dropped_collection_is_waited_for(folder: Path) -> None:
    erase(someone_among(FEW))
    moved_aside = folder / "storage" / ".deleted" / "random"
    moved_aside.mkdir(parents=True)
    with pytest.raises(UserFacingError, match=r"still exists: Qdrant deletes the folder of a dropped collection in the background\."):
        purged(log=True, storage=[folder / "storage"], seconds=0.3)
    moved_aside.rmdir()
    assert purged(storage=[folder / "storage"]).clean


def test_command__without_the_storage_folder(folder: Path) -> None:
    """Where the server deletes files later, nothing is said to be gone, also by the run after."""
    erase(someone_among(FEW))
    for _ in range(2):
        code, stdout, stderr = manage("purge_qdrant")
        assert (code, stderr) == (1, "")
        assert ("and does not report it: check it with --storage FOLDER" in stdout) == deletes_files_later()
        assert ("none remains" in stdout) != deletes_files_later()


# --- While Qdrant writes segments anew by itself -------------------------------------------------------------------------------------


def test_purge__while_a_graph_is_built(folder: Path) -> None:
    """Until it is done Qdrant tells of nobody who is deleted in that segment, and then of all of them: their bytes have come into the new one. But for
    those who are deleted before they are copied: so there are several."""
    people = ProfileEmbeddingFactory.create_batch(5)
    sync_once()
    _add_points(3000)
    for attempt, someone in enumerate(people):
        needle = traces(someone)["vector"]
        _have_graphs_built(800 + attempt)
        erase(someone)
        with qdrant() as client:
            assert client.get_collection(name(1)).status == "yellow"
        (done,) = purged(dry_run=True).collections
        assert done == VacuumResult(name(1), 0, 0, int(is_in_a_reported_segment(folder, needle)))
        if done.remaining:
            break
    assert done.remaining
    (done,) = purged(storage=[folder / "storage"]).collections
    assert (done.deleted, done.remaining, done.proven) == (1, 0, True)
    assert "segments" not in where(folder, {"vector": needle})

    _have_graphs_built(700)
    with pytest.raises(UserFacingError) as raised:
        purged(seconds=0)
    assert str(raised.value) == (
        f"Qdrant is still rewriting segments of '{name(1)}' after 0 s without progress. Wait until the collection is green, or increase"
        " --wait, then run the command again."
    )


@pytest.mark.parametrize("waiting", ["vacuum", "segments"])
def test_purge__the_session_that_has_the_lock_is_used_all_along(folder: Path, monkeypatch: pytest.MonkeyPatch, waiting: str) -> None:
    """Where idle sessions are ended, the lock would be gone: while one is waited for that is rewritten, or that Qdrant writes by itself."""
    erase(someone_among(MANY))
    first: list[Segment] = []
    used: set[datetime] = set()

    def slowly(nodes: Sequence[Node], collection: str) -> list[Segment]:
        """For whoever waits, nothing changes before the session has been used twice."""
        found = segments(nodes, collection)
        first.extend(found if not first else [])
        used.add(session.last_used())
        return found if len(used) > 2 else [replace(one, busy=True) for one in first]

    with watched_session() as session:
        monkeypatch.setattr(f"vectorstore.purge.{waiting}.segments", slowly)
        (done,) = purged(seconds=10).collections
    assert (done.deleted, done.remaining) == (1, 0)


@pytest.mark.parametrize("waiting", ["vacuum", "segments"])
def test_purge__a_large_segment(folder: Path, monkeypatch: pytest.MonkeyPatch, waiting: str) -> None:
    """Nothing but what Qdrant says of its progress tells for hours that it gets on."""
    erase(someone_among(MANY))
    with qdrant() as client:
        first = segments(every_node(client, ()), name(1))
    steps = count()

    def slowly(nodes: Sequence[Node], collection: str) -> list[Segment]:
        return [replace(one, busy=True) for one in first] if next(steps) < 10 else segments(nodes, collection)

    monkeypatch.setattr(f"vectorstore.purge.{waiting}.segments", slowly)
    with pytest.raises(UserFacingError):
        purged(seconds=0.15)
    steps = count()
    monkeypatch.setattr("vectorstore.purge.segments.running_optimizations", lambda _client, _collection: str(next(steps)))
    (done,) = purged(seconds=0.15).collections
    assert done.remaining == 0


def _add_points(how_many: int) -> None:
    """Of nobody: people would take long."""
    vectors = np.random.default_rng(1).normal(size=(how_many, 512)).tolist()
    ids: list[models.ExtendedPointId] = [*range(how_many)]
    with qdrant() as client:
        client.upsert(name(1), models.Batch(ids=ids, vectors=vectors), wait=True)


def _have_graphs_built(ef_construct: int) -> None:
    """Slowly, and for another value anew. When this returns, they are being built."""
    with qdrant() as client:
        optimizers, graph = models.OptimizersConfigDiff(indexing_threshold=100), models.HnswConfigDiff(m=32, ef_construct=ef_construct)
        client.update_collection(name(1), optimizers_config=optimizers, hnsw_config=graph)
        wait_until(lambda: client.get_collection(name(1)).status == "yellow")


# --- What is retained ----------------------------------------------------------------------------------------------------------------


def test_purge__a_retained_collection(folder: Path) -> None:
    someone = someone_among(FEW)
    needles = traces(someone)
    reindex(retain=timedelta(hours=1))
    erase(someone)
    with pytest.raises(UserFacingError) as raised:
        purged(log=True, snapshots=True)
    assert str(raised.value) == (
        f"'{name(1)}' is retained and has its own write-ahead log: nothing was changed. Add --drop-retained (reindex_qdrant --rollback is then"
        " impossible), or wait until its retention ends."
    )
    assert where(folder, needles)["segments"]
    done = purged()
    assert {one.collection: (one.deleted, one.remaining) for one in done.collections} == {name(1): (1, 0), name(2): (1, 0)}
    assert set(done.logs) == {name(1), name(2)}
    done = purged(log=True, drop_retained=True)
    assert done.dropped == (name(1), name(2))
    assert where(folder, needles) == {}
    assert done.clean


def test_purge__a_cluster_without_a_node(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No collection could be built: the retained one, the way back, is still there."""
    someone_among(3)
    reindex(retain=timedelta(hours=1))

    def refuse(_client: Any) -> None:
        raise StoreUnavailable("A node is dead. Nothing was begun.")

    monkeypatch.setattr(f"{purge.__module__}.require_all_nodes", refuse)
    with pytest.raises(StoreUnavailable, match=r"^A node is dead\. Nothing was begun\.$"):
        purged(log=True, drop_retained=True)
    assert registry.retained() == [name(1)]
    purged(drop_retained=True)
    assert registry.retained() == []


# --- Killed ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("how_many", "moment"), [(MANY, "before the settings are changed"), (MANY, "after that"), (FEW, "after that")])
def test_purge__killed(folder: Path, settings: Settings, how_many: int, moment: str) -> None:
    """The settings are put back by the next run, and then nothing is different from what is defined."""
    erase(someone_among(how_many))
    with qdrant() as client:
        before = client.get_collection(name(1)).config
    url, changes, reached = settings.QDRANT_URL, list[str](), list[str]()

    def silent(asked: str) -> bool:
        if asked.startswith("PATCH "):
            changes.append(asked)
            return moment != "after that"
        return bool(changes) and asked.startswith("GET /telemetry")

    with silent_on(url, silent, reached) as settings.QDRANT_URL, started("purge_qdrant") as process:
        wait_until(lambda: process.poll() is not None or bool(reached))
        process.kill()
        reported = process.communicate()
    settings.QDRANT_URL = url
    assert process.returncode == -signal.SIGKILL, reported
    changed = {"deleted_threshold": 0.2, "vacuum_min_vector_number": 1000} if how_many == MANY else {"on_disk_payload": True}
    assert StoreState.current().saved_optimizer_settings == {name(1): changed}
    assert bool(compare().differences) == (moment == "after that")
    assert [(one.remaining) for one in purged().collections] == [0]
    with qdrant() as client:
        assert client.get_collection(name(1)).config == before
    assert compare().differences == []
    assert StoreState.current().saved_optimizer_settings == {}


def test_purge__settings_that_somebody_else_has_set_since(folder: Path) -> None:
    someone_among(3)
    state = StoreState.current()
    state.saved_optimizer_settings = {
        name(1): {"deleted_threshold": 0.7, "vacuum_min_vector_number": 1234},
        name(9): {"on_disk_payload": True},
    }
    state.save()
    purged()
    assert compare().differences == []
    assert StoreState.current().saved_optimizer_settings == {}


# --- The command -----------------------------------------------------------------------------------------------------------------


def test_command(folder: Path) -> None:
    someone = someone_among(FEW)
    (before,) = create()
    erase(someone)
    made_at = f"{before.made_at:%Y-%m-%d %H:%M:%S} UTC"
    code, stdout, stderr = manage("purge_qdrant", "--dry-run")
    assert (code, stderr) == (1, "")
    assert stdout.splitlines() == [
        f"{name(1)}: deleted points in its segments: 1.",
        f"The snapshot {before.name} of {made_at} is older than the last erasure: --snapshots deletes it.",
        f"{name(1)}: its write-ahead log may hold erased points. Add --log to rebuild the collection with a new log.",
        "Erased data may remain, as listed above.",
    ]
    code, stdout, stderr = manage("purge_qdrant", "--dry-run", "--snapshots", "--log")
    assert (code, stderr) == (1, "")
    assert stdout.splitlines() == [
        f"{name(1)} would be dropped, with its write-ahead log.",
        f"{name(1)}: deleted points in its segments: 1.",
        f"The snapshot {before.name} of {made_at} would be deleted.",
        "Erased data may remain, as listed above.",
    ]
    assert [one.name for one in list_snapshots().snapshots] == [before.name]
    code, stdout, stderr = manage("purge_qdrant", "--snapshots", "--log", "--json")
    assert (code, stderr) == (0, "")
    reported = json.loads(stdout)
    assert reported["clean"]
    assert reported["purged"]["dropped"] == [name(1)]
