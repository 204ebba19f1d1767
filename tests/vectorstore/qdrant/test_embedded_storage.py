"""The embedded store on disk: one transaction for each request, killed processes, damage, and the order of waiting processes."""

from __future__ import annotations

import random
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.local import local_collection
from qdrant_client.local.persistence import CollectionPersistence

from findme.core.errors import StoreUnavailable
from tests.vectorstore.qdrant.holder import script_process
from vectorstore.qdrant.connection import qdrant
from vectorstore.qdrant.embedded_storage import Persistence

VECTORS = models.VectorParams(size=2, distance=models.Distance.COSINE)
PATIENCE_SECONDS = 120


def points(count: int, **payload: Any) -> list[models.PointStruct]:
    return [models.PointStruct(id=number, vector=[0.6, 0.8], payload=payload) for number in range(count)]


def connection_of(client: QdrantClient, collection: str) -> Any:
    """Return the SQLite connection of the collection."""
    return client._client.collections[collection].storage.storage  # type: ignore[attr-defined]


def commits_of(client: QdrantClient, work: Callable[[], object]) -> int:
    statements: list[str] = []
    connection_of(client, "a").set_trace_callback(statements.append)
    work()
    return statements.count("COMMIT")


def test_storage__new_or_opened_collection__does_not_wait_for_the_disk(embedded_qdrant: Path) -> None:
    for is_made in (False, True):
        with qdrant() as client:
            if not is_made:
                client.create_collection("a", vectors_config=VECTORS)
            assert connection_of(client, "a").execute("PRAGMA synchronous").fetchone() == (0,)


def bytes_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def secret(number: int) -> models.PointStruct:
    return models.PointStruct(id=number, vector=[0.6, 0.8], payload={"word": f"theremin-{number}-" * 2000})


def test_storage__deleted_point__leaves_no_byte(embedded_qdrant: Path) -> None:
    with qdrant() as client:
        client.create_collection("a", vectors_config=VECTORS)
        client.upsert("a", [secret(number) for number in range(5)])
    assert b"theremin-3-" in bytes_of(embedded_qdrant)
    with qdrant() as client:
        client.delete("a", models.PointIdsList(points=[3]))
    assert b"theremin-3-" not in bytes_of(embedded_qdrant)
    assert b"theremin-2-" in bytes_of(embedded_qdrant)


def test_storage__points_that_another_program_has_deleted__leave_no_byte(embedded_qdrant: Path) -> None:
    with qdrant() as client:
        client.create_collection("a", vectors_config=VECTORS)
        client.upsert("a", [secret(number) for number in range(5)])
    (file,) = embedded_qdrant.rglob("*.sqlite")
    with closing(sqlite3.connect(file)) as other:
        other.executescript("PRAGMA secure_delete = OFF; DELETE FROM points WHERE rowid = 3; PRAGMA user_version = 0")
    assert b"theremin-2-" in bytes_of(embedded_qdrant)
    with qdrant() as client:
        assert client.count("a").count == 4
    assert b"theremin-2-" not in bytes_of(embedded_qdrant)


def test_storage__each_request__commits_once(embedded_qdrant: Path) -> None:
    with qdrant() as client:
        client.create_collection("a", vectors_config=VECTORS)
        assert commits_of(client, lambda: client.upsert("a", points(50, version=1))) == 1
        assert commits_of(client, lambda: client.delete_payload("a", ["version"], points=models.Filter())) == 1
        assert commits_of(client, lambda: client.delete("a", models.Filter())) == 1
        assert not connection_of(client, "a").in_transaction


def test_storage__request_of_another_thread__does_not_delay_a_commit(embedded_qdrant: Path) -> None:
    """The threads may use different folders."""
    with qdrant() as client:
        client.create_collection("a", vectors_config=VECTORS)
        upsert, committed = client._client.upsert, []

        def in_thread(*arguments: Any, **options: Any) -> Any:
            thread = threading.Thread(target=lambda: committed.append(commits_of(client, lambda: connection_of(client, "a").commit())))
            thread.start()
            thread.join()
            return upsert(*arguments, **options)

        client._client.upsert = in_thread  # type: ignore[method-assign]
        client.upsert("a", points(2))
    assert committed == [0]  # nothing had to be committed, and the commit was not delayed
    with qdrant() as client:
        assert client.count("a").count == 2


def test_storage__failed_request__keeps_the_points_written_before(embedded_qdrant: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The open client has these points in memory, so the next client must see them too."""
    persist = CollectionPersistence.persist
    with qdrant() as client:
        client.create_collection("a", vectors_config=VECTORS)

        def fail_on_the_fourth(storage: CollectionPersistence, point: models.PointStruct) -> None:
            if point.id == 3:
                raise RuntimeError("the fourth")
            persist(storage, point)

        monkeypatch.setattr(CollectionPersistence, "persist", fail_on_the_fourth)
        with pytest.raises(RuntimeError, match="the fourth"):
            client.upsert("a", points(5))
    with qdrant() as client:
        assert client.count("a").count == 3


def test_storage__killed_process__keeps_answered_requests(embedded_qdrant: Path) -> None:
    script = """
with qdrant() as client:
    client.create_collection("a", vectors_config=models.VectorParams(size=2, distance="Cosine"))
    for batch in range(10**6):
        client.upsert("a", [models.PointStruct(id=batch * 20 + number, vector=[0.6, 0.8]) for number in range(20)])
        print(batch, flush=True)
"""
    with script_process(script, embedded_qdrant) as process:
        assert process.stdout is not None
        answered = -1
        while answered < 5:
            answered = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE_SECONDS)
    with qdrant() as client:
        count = client.count("a").count
        assert count >= 20 * (answered + 1)
        assert count % 20 == 0
        assert [record.id for record in client.retrieve("a", [*range(20 * answered)])] == [*range(20 * answered)]


def test_storage__plain_client__reads_and_writes_the_same_points(embedded_qdrant: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with qdrant() as client:
        client.create_collection("a", vectors_config=VECTORS)
        client.upsert("a", points(3, age=30))
    monkeypatch.setattr(local_collection, "CollectionPersistence", CollectionPersistence)
    plain = QdrantClient(path=str(embedded_qdrant))
    try:
        (record,) = plain.retrieve("a", [2], with_vectors=True)
        assert record.payload == {"age": 30}
        assert list[Any](record.vector or []) == [pytest.approx(0.6), pytest.approx(0.8)]
        plain.upsert("a", [models.PointStruct(id=9, vector=[1.0, 0.0], payload={"age": 31})])
    finally:
        plain.close()
    monkeypatch.setattr(local_collection, "CollectionPersistence", Persistence)
    with qdrant() as client:
        found = client.retrieve("a", [2, 9], with_vectors=True)
        assert [record.payload for record in found] == [{"age": 30}, {"age": 31}]
        assert [record.vector for record in found] == [[pytest.approx(0.6), pytest.approx(0.8)], [1.0, 0.0]]


def test_storage__named_and_multi_vectors__are_kept(embedded_qdrant: Path) -> None:
    """Other programs may have such collections in the same folder."""
    several = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    with qdrant() as client:
        client.create_collection("named", vectors_config={"x": VECTORS})
        client.create_collection("several", vectors_config=VECTORS.model_copy(update={"multivector_config": several}))
        client.upsert("named", [models.PointStruct(id=1, vector={"x": [1.0, 0.0]})])
        client.upsert("several", [models.PointStruct(id=1, vector=[[1.0, 0.0], [0.0, 1.0]])])
    with qdrant() as client:
        assert client.retrieve("named", [1], with_vectors=True)[0].vector == {"x": [1.0, 0.0]}
        assert client.retrieve("several", [1], with_vectors=True)[0].vector == [[1.0, 0.0], [0.0, 1.0]]


def test_storage__damaged_anywhere__is_reported_in_one_line(embedded_qdrant: Path) -> None:
    """As after a power failure."""
    with qdrant() as client:
        client.create_collection("a", vectors_config=VECTORS)
        client.upsert("a", points(40, interests=["sea"]))
    (storage,) = embedded_qdrant.rglob("*.sqlite")
    content, rng = storage.read_bytes(), random.Random(1)
    reported: list[str] = []
    for _ in range(60):
        damaged = bytearray(content)
        position = rng.randrange(len(content))
        damaged[position : position + 64] = bytes(rng.randrange(256) for _ in range(64)) if rng.random() < 0.7 else bytes(64)
        storage.write_bytes(damaged[: len(content)])
        try:
            with qdrant() as client:
                client.scroll("a", limit=100)
        except StoreUnavailable as error:
            reported.append(str(error))
    assert reported
    assert all(line.startswith(f"The embedded vector store '{embedded_qdrant}' ") and "\n" not in line for line in reported)


# --- Order of waiting processes and threads --------------------------------------------------------------------------------------


@pytest.mark.at_length
def test_turn__waiting_process__gets_the_folder_after_the_current_block(embedded_qdrant: Path) -> None:
    """A worker takes the folder again right after each batch. A waiting process must get it after the current batch, not by chance."""
    script = """
import time
from pathlib import Path
number = 0
while True:
    with qdrant():
        number += 1
        Path(sys.argv[1], "holds").write_text(str(number))
        if number == 1:
            print("held", flush=True)
        time.sleep(0.1)
"""
    holds = embedded_qdrant / "holds"
    with script_process(script, embedded_qdrant) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        for _ in range(5):
            before = int(holds.read_text() or 0)
            with qdrant():
                assert int(holds.read_text()) - before <= 2  # the current block, and one that was already waiting


def test_turn__waiting_thread__gets_the_folder_after_the_current_block(embedded_qdrant: Path) -> None:
    holds, stop = 0, threading.Event()
    started = threading.Event()

    def hold_repeatedly() -> None:
        nonlocal holds
        while not stop.is_set():
            with qdrant():
                holds += 1
                started.set()
                time.sleep(0.05)

    thread = threading.Thread(target=hold_repeatedly)
    thread.start()
    try:
        assert started.wait(PATIENCE_SECONDS)
        for _ in range(5):
            before = holds
            with qdrant():
                assert holds - before <= 2
    finally:
        stop.set()
        thread.join()


def test_turn__nested_block__does_not_wait_for_waiting_threads(embedded_qdrant: Path) -> None:
    waiting, done = threading.Event(), threading.Event()

    def wait() -> None:
        waiting.set()
        with qdrant():
            done.set()

    with qdrant():
        thread = threading.Thread(target=wait)
        thread.start()
        assert waiting.wait(PATIENCE_SECONDS)
        time.sleep(0.2)
        with qdrant():
            assert not done.is_set()
    thread.join(PATIENCE_SECONDS)
    assert done.is_set()


def test_storage__failed_deletion__ends_the_answers_from_memory(embedded_qdrant: Path) -> None:
    """The client deletes the point in its memory before it writes the file. Another program has locked the file."""
    with qdrant() as client:
        client.create_collection("a", vectors_config=VECTORS)
        client.upsert("a", points(1))
    with qdrant() as client:
        connection_of(client, "a").execute("PRAGMA busy_timeout = 10")
        with closing(sqlite3.connect(embedded_qdrant / "collection" / "a" / "storage.sqlite")) as other:
            other.execute("BEGIN EXCLUSIVE")
            with pytest.raises(StoreUnavailable, match="locked"), qdrant() as client:
                client.delete("a", models.Filter())
        with pytest.raises(StoreUnavailable, match="locked"), qdrant() as client:
            client.retrieve("a", [0])
    with qdrant() as client:
        assert len(client.retrieve("a", [0])) == 1
