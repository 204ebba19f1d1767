import gc
import logging
import os
import signal
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as project_settings
from pytest_django import Settings
from qdrant_client import QdrantClient, models
from qdrant_client.local.local_collection import LocalCollection
from qdrant_client.local.qdrant_local import QdrantLocal

import vectorstore.qdrant.server
from findme.core.errors import StoreUnavailable
from findme.core.file_lock import lock_file
from tests.qdrant import QdrantServer, free_port, started_qdrant
from tests.support.memory import folder_in_memory
from tests.support.stubs import answering
from tests.support.threads import held_in_thread, in_thread
from tests.vectorstore.qdrant.holder import holding, run_script
from vectorstore.qdrant import embedded
from vectorstore.qdrant.connection import collection_name, is_embedded, qdrant
from vectorstore.qdrant.embedded_storage import LOCK_FILE_NAME
from vectorstore.qdrant.errors import CollectionNotFound, RequestRejected

VECTORS = models.VectorParams(size=2, distance=models.Distance.COSINE)


def points(count: int) -> list[models.PointStruct]:
    return [models.PointStruct(id=number, vector=[1.0, float(number)]) for number in range(count)]


# --- Embedded --------------------------------------------------------------------------------------------------------------------


def test_qdrant__embedded__keeps_points_in_a_private_folder(embedded_qdrant: Path) -> None:
    assert is_embedded()
    assert collection_name() == "profile_embeddings"
    with qdrant() as client:
        client.create_collection("a", vectors_config=VECTORS)
        client.upsert("a", points(3))
    with qdrant() as client:
        assert client.count("a").count == 3
    assert stat.S_IMODE(embedded_qdrant.stat().st_mode) == 0o700


def test_qdrant__embedded_nested_in_one_thread__is_the_same_client(embedded_qdrant: Path) -> None:
    with qdrant() as client:
        with qdrant() as again:
            assert again is client
        client.create_collection("a", vectors_config=VECTORS)
    with pytest.raises(RuntimeError, match="closed"):
        client.get_collections()


def test_qdrant__embedded_path_in_another_notation__is_the_same_client(embedded_qdrant: Path, settings: Settings) -> None:
    with qdrant() as client:
        settings.QDRANT_PATH = f"{embedded_qdrant}/../{embedded_qdrant.name}/"
        with qdrant() as again:
            assert again is client


@pytest.mark.at_length
def test_qdrant__error_in_embedded_block__releases_the_folder(embedded_qdrant: Path) -> None:
    with pytest.raises(ZeroDivisionError), qdrant():
        _ = 1 / 0
    assert run_script("with qdrant() as client: print(client.get_collections().collections)", embedded_qdrant, 1).stdout == "[]\n"


def test_qdrant__embedded_in_several_threads__one_at_a_time(embedded_qdrant: Path) -> None:
    with qdrant() as client:
        client.create_collection("a", vectors_config=VECTORS)

    def add(first: int) -> None:
        with qdrant() as client:
            count = client.count("a").count
            client.upsert("a", [models.PointStruct(id=first, vector=[1.0, 2.0])])
            assert client.count("a").count == count + 1

    for thread in [in_thread(partial(add, number)) for number in range(8)]:
        thread.result()
    with qdrant() as client:
        assert client.count("a").count == 8


def test_qdrant__embedded_held_by_another_thread__is_refused_after_the_timeout(embedded_qdrant: Path, settings: Settings) -> None:
    with held_in_thread(qdrant()):
        settings.QDRANT_TIMEOUT = 0.2
        with pytest.raises(StoreUnavailable) as raised, qdrant():
            pass
    assert str(raised.value) == (
        f"The embedded vector store '{embedded_qdrant}' is in use by another thread of this process, {os.getpid()} (waited 0.2 s):"
        " run it again later, or set QDRANT_URL to a server."
    )


def test_qdrant__embedded_held_by_another_process__waits(embedded_qdrant: Path, settings: Settings) -> None:
    settings.QDRANT_TIMEOUT = 60
    with holding(embedded_qdrant) as process:
        assert process.stdin is not None
        timer = threading.Timer(0.3, process.stdin.close)
        timer.start()
        with qdrant() as client:
            assert client.get_collections().collections == []
        timer.join()


@pytest.mark.at_length
def test_qdrant__embedded_held_by_another_process__is_refused_after_the_timeout(embedded_qdrant: Path, settings: Settings) -> None:
    settings.QDRANT_TIMEOUT = 0.2
    with holding(embedded_qdrant) as process:
        with pytest.raises(StoreUnavailable) as raised, qdrant():
            pass
        assert str(raised.value) == (
            f"The embedded vector store '{embedded_qdrant}' is in use by process {process.pid} (waited 0.2 s):"
            " run it again later, or set QDRANT_URL to a server."
        )
        process.send_signal(signal.SIGKILL)
        process.wait()
    with qdrant() as client:
        assert client.get_collections().collections == []


def test_qdrant__embedded_held_by_a_plain_client__is_refused_after_the_timeout(embedded_qdrant: Path, settings: Settings) -> None:
    settings.QDRANT_TIMEOUT = 0.2
    other = QdrantClient(path=str(embedded_qdrant))
    try:
        with pytest.raises(StoreUnavailable) as raised, qdrant():
            pass
    finally:
        other.close()
    assert str(raised.value) == (
        f"The embedded vector store '{embedded_qdrant}' is in use by another program that uses qdrant-client (waited 0.2 s):"
        " run it again later, or set QDRANT_URL to a server."
    )
    with qdrant():
        pass


@pytest.mark.at_length
def test_qdrant__interpreter_ends_in_embedded_block__prints_nothing(embedded_qdrant: Path) -> None:
    script = """
import contextlib
kept = contextlib.ExitStack()
client = kept.enter_context(qdrant())
client.create_collection("a", vectors_config=models.VectorParams(size=2, distance="Cosine"))
print("open")
"""
    finished = run_script(script, embedded_qdrant)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "open\n", "")


@pytest.mark.at_length
def test_qdrant__embedded_in_a_forked_child__is_refused(embedded_qdrant: Path) -> None:
    script = """
with qdrant() as client:
    client.create_collection("a", vectors_config=models.VectorParams(size=2, distance="Cosine"))
    if not (child := os.fork()):
        try:
            with qdrant() as again:
                print("shared", again is client)
        except UserFacingError as error:
            print(error)
        sys.exit()
    os.waitpid(child, 0)
    print(os.getpid(), client.count("a").count)
"""
    finished = run_script(script, embedded_qdrant, 0.2)
    refused, counted = finished.stdout.splitlines()
    pid, count = counted.split()
    assert (finished.returncode, finished.stderr, count) == (0, "", "0")
    assert f"is in use by process {pid} (waited 0.2 s)" in refused


@pytest.mark.parametrize("meta", ["", "{", "{}", '{"collections": {"a": {"vectors": 7}}, "aliases": {}}', "[]"])
def test_qdrant__embedded_list_of_collections_is_damaged__is_reported(embedded_qdrant: Path, meta: str) -> None:
    with qdrant():
        pass
    (embedded_qdrant / "meta.json").write_text(meta)
    with pytest.raises(StoreUnavailable) as raised, qdrant():
        pass
    assert_damaged(embedded_qdrant, str(raised.value))


@pytest.mark.parametrize("begin", [b"not a database, but long enough to be looked at as one" * 9, b""])
def test_qdrant__embedded_points_are_damaged__is_reported(embedded_qdrant: Path, begin: bytes) -> None:
    with qdrant() as client:
        client.create_collection("a", vectors_config=VECTORS)
        client.upsert("a", points(3))
    (storage,) = embedded_qdrant.rglob("*.sqlite")
    content = storage.read_bytes()
    storage.write_bytes(begin + content.replace(b"PointStruct", b"PointStrurt")[len(begin) :])
    with pytest.raises(StoreUnavailable) as raised, qdrant():
        pass
    assert_damaged(embedded_qdrant, str(raised.value))


def assert_damaged(folder: Path, line: str) -> None:
    assert line.startswith(f"The embedded vector store '{folder}' is damaged (")
    assert line.endswith(
        "): delete the folder, then run manage.py init_qdrant and manage.py sync_qdrant --once, which fill it again from PostgreSQL."
    )
    assert "\n" not in line


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the client does not close the file that it could not lock
def test_qdrant__plain_client_opens_the_folder_just_before__is_reported(embedded_qdrant: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = QdrantClient(path=str(embedded_qdrant))
    monkeypatch.setattr(embedded, "lock_file", lambda path, *rest: nullcontext() if path.name == LOCK_FILE_NAME else lock_file(path, *rest))
    line = ""
    try:
        with qdrant():
            pass
    except StoreUnavailable as error:
        line = str(error)
    gc.collect()
    other.close()
    assert "is in use by another program that uses qdrant-client (waited 10 s)" in line


def test_qdrant__embedded_storage_is_a_folder__is_reported(embedded_qdrant: Path) -> None:
    with qdrant() as client:
        client.create_collection("a", vectors_config=VECTORS)
    (storage,) = embedded_qdrant.rglob("*.sqlite")
    storage.unlink()
    storage.mkdir()
    with pytest.raises(StoreUnavailable) as raised, qdrant():
        pass
    assert str(raised.value) == (
        f"The embedded vector store '{embedded_qdrant}' cannot be used: unable to open database file."
        " Check the folder, or name another one in QDRANT_PATH."
    )


@pytest.mark.parametrize("damage", ["table", "file"])
def test_qdrant__embedded_damaged_while_open__is_reported(embedded_qdrant: Path, damage: str) -> None:
    def use() -> None:
        with qdrant() as client:
            client.create_collection("a", vectors_config=VECTORS)
            (storage,) = embedded_qdrant.rglob("*.sqlite")
            if damage == "table":
                with closing(sqlite3.connect(storage)) as database:
                    database.execute("DROP TABLE points")
            else:
                storage.write_bytes(b"not a database" * 1000)
            client.upsert("a", points(3))

    with pytest.raises(StoreUnavailable) as raised:
        use()
    if damage == "table":
        assert "cannot be used: no such table: points. Check the folder" in str(raised.value)
    else:
        assert_damaged(embedded_qdrant, str(raised.value))


def test_qdrant__embedded_vector_of_another_size__is_rejected(embedded_qdrant: Path) -> None:
    with qdrant() as client:
        client.create_collection("a", vectors_config=VECTORS)
    with pytest.raises(RequestRejected) as raised, qdrant() as client:
        client.upsert("a", [models.PointStruct(id=1, vector=[1.0, 2.0, 3.0])])
    assert str(raised.value) == (
        "The embedded vector store rejected this: Wrong input: Vector dimension error: expected dim: 2, got 3 for vector ''."
        " See manage.py init_qdrant --check."
    )


def test_qdrant__embedded_path_is_a_file__is_refused(embedded_qdrant: Path) -> None:
    embedded_qdrant.write_text("a file")
    with pytest.raises(StoreUnavailable) as raised, qdrant():
        pass
    assert str(raised.value) == (f"QDRANT_PATH is '{embedded_qdrant}', which is no folder. Name a folder, or one that can be made.")


def test_qdrant__embedded_path_is_below_a_file__is_refused(embedded_qdrant: Path, settings: Settings) -> None:
    embedded_qdrant.write_text("a file")
    settings.QDRANT_PATH = f"{embedded_qdrant}/store"
    with pytest.raises(StoreUnavailable) as raised, qdrant():
        pass
    assert str(raised.value) == (
        f"QDRANT_PATH is '{embedded_qdrant}/store', and '{embedded_qdrant}' is no folder. Name a folder, or one that can be made."
    )


def test_qdrant__neither_server_nor_folder_is_set__is_refused(settings: Settings) -> None:
    settings.QDRANT_URL = settings.QDRANT_PATH = ""
    with pytest.raises(StoreUnavailable) as raised, qdrant():
        pass
    assert str(raised.value) == "QDRANT_URL and QDRANT_PATH are not set: set QDRANT_URL to a Qdrant server, or QDRANT_PATH to a folder."


def test_qdrant__embedded_cannot_be_written__is_reported(embedded_qdrant: Path) -> None:
    def damage_and_write() -> None:
        with qdrant() as client:
            (embedded_qdrant / "meta.json").unlink()
            (embedded_qdrant / "meta.json").mkdir()
            client.create_collection("a", vectors_config=VECTORS)

    with pytest.raises(StoreUnavailable) as raised:
        damage_and_write()
    assert str(raised.value) == (
        f"The embedded vector store '{embedded_qdrant}' cannot be used: Is a directory. Check the folder, or name another one in QDRANT_PATH."
    )


def test_qdrant__file_error_of_the_caller__is_not_translated(embedded_qdrant: Path) -> None:
    with pytest.raises(FileNotFoundError), qdrant():
        (embedded_qdrant / "not there").read_text()


@pytest.mark.parametrize("name", ["profile_embeddings", "a", "_1", "Users-2.x", "a" * 200])
def test_collection_name__valid__is_returned(settings: Settings, name: str) -> None:
    settings.QDRANT_COLLECTION = name
    assert collection_name() == name


@pytest.mark.parametrize("name", ["", "a/b", "../a", ".a", "-a", "a b", "a?b", "ä", "a\n", "a" * 201])
def test_collection_name__invalid__is_refused(settings: Settings, name: str) -> None:
    settings.QDRANT_COLLECTION = name
    with pytest.raises(StoreUnavailable) as raised:
        collection_name()
    assert str(raised.value) == (
        f"QDRANT_COLLECTION is {name!r}: use at most 200 letters, digits, '_', '-' and '.', and begin with a letter, a digit or '_'."
    )


def test_qdrant__embedded_has_no_such_collection__names_init_qdrant(embedded_qdrant: Path) -> None:
    with pytest.raises(CollectionNotFound) as raised, qdrant() as client:
        client.count("a")
    assert str(raised.value) == "Qdrant has no collection 'a': make it with manage.py init_qdrant."


def test_qdrant__value_error_of_the_caller__is_not_translated(embedded_qdrant: Path) -> None:
    with pytest.raises(ValueError, match=r"^Collection a not found$"), qdrant():
        raise ValueError("Collection a not found")


def test_qdrant__embedded_with_many_points__warns_once(
    embedded_qdrant: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for owner, name in ((QdrantLocal, "LARGE_DATA_THRESHOLD"), (LocalCollection, "LARGE_DATA_THRESHOLD"), (embedded, "MANY_POINTS")):
        monkeypatch.setattr(owner, name, 5)
    with qdrant() as client:
        client.create_collection("a", vectors_config=VECTORS)
        client.upsert("a", points(5))
    assert caplog.records == []
    with qdrant() as client:
        client.upsert("a", points(6))
    with qdrant():
        pass
    assert [record.getMessage() for record in caplog.records] == [
        "The embedded vector store holds 6 points and is slow above 5: set QDRANT_URL to a server."
    ]


def test_settings__test_without_a_store_fixture__reaches_no_store() -> None:
    """This holds for root too, who can create every folder."""
    assert not project_settings.QDRANT_URL
    with pytest.raises(StoreUnavailable, match="is no folder"), qdrant():
        pass


# --- A server --------------------------------------------------------------------------------------------------------------------


def test_qdrant__key_without_encryption_to_another_host__logs_a_warning(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    settings.QDRANT_URL, settings.QDRANT_API_KEY = "http://no-such-host.invalid", "secret"
    with pytest.raises(StoreUnavailable), qdrant():
        pass
    assert [(record.levelno, record.getMessage()) for record in caplog.records if record.name == "vectorstore.qdrant.server"] == [
        (logging.WARNING, "QDRANT_API_KEY is sent to 'http://no-such-host.invalid' without encryption: use https://.")
    ]


@pytest.mark.parametrize("url", ["https://no-such-host.invalid", f"http://127.0.0.1:{free_port()}"], ids=["TLS", "loopback"])
def test_qdrant__key_over_tls_or_loopback__logs_no_warning(settings: Settings, caplog: pytest.LogCaptureFixture, url: str) -> None:
    settings.QDRANT_URL, settings.QDRANT_API_KEY = url, "secret"
    with pytest.raises(StoreUnavailable), qdrant():
        pass
    assert [record for record in caplog.records if record.name == "vectorstore.qdrant.server"] == []


@pytest.mark.qdrant_server
def test_qdrant__server__has_one_client_for_the_process(server: QdrantServer) -> None:
    with qdrant() as client, qdrant() as again:
        assert again is client
    with qdrant() as later:
        assert later is client


@pytest.mark.qdrant_server
def test_qdrant__process_with_a_server_client_ends__prints_nothing(server: QdrantServer, settings: Settings, memory_path: Path) -> None:
    """The driver would print a warning by gRPC when the interpreter ends."""
    script = f"""
settings.QDRANT_URL, settings.QDRANT_API_KEY, settings.QDRANT_GRPC_PORT = {server.url!r}, {server.api_key!r}, {settings.QDRANT_GRPC_PORT}
with qdrant() as client:
    client.get_aliases()
try:
    with qdrant() as client:
        client.get_collection("no such collection")
except UserFacingError as error:
    print(error)
"""
    finished = run_script(script, memory_path)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout == "Qdrant has no collection 'no such collection': make it with manage.py init_qdrant.\n"


# --- gRPC is the same server -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def other_qdrant() -> Iterator[QdrantServer]:
    with folder_in_memory() as folder, started_qdrant(folder) as server:
        yield server


@pytest.fixture
def mismatched_server(memory_path: Path, settings: Settings, other_qdrant: QdrantServer) -> Iterator[QdrantServer]:
    """Start a server, and set its REST URL with the gRPC port of another server."""
    with started_qdrant(memory_path) as server:
        settings.QDRANT_URL, settings.QDRANT_API_KEY, settings.QDRANT_GRPC_PORT = server.url, "", other_qdrant.grpc_port
        yield server


def collections_of(server: QdrantServer) -> list[str]:
    client = QdrantClient(url=server.url, check_compatibility=False)
    try:
        return sorted(collection.name for collection in client.get_collections().collections)
    finally:
        client.close()


def make_collection(server: QdrantServer, name: str) -> None:
    client = QdrantClient(url=server.url, check_compatibility=False)
    try:
        client.delete_collection(name)
        client.create_collection(name, vectors_config={})
    finally:
        client.close()


def mismatch_message(server: QdrantServer, grpc_port: int, reason: str) -> str:
    return f"QDRANT_GRPC_PORT {grpc_port} is not the server of QDRANT_URL '{server.url}' ({reason}): correct it, or set it to 0 for REST."


@pytest.mark.qdrant_server
def test_qdrant__grpc_of_another_empty_server__is_refused(mismatched_server: QdrantServer, other_qdrant: QdrantServer) -> None:
    before = collections_of(other_qdrant)
    with pytest.raises(StoreUnavailable) as raised, qdrant():
        pass
    line = str(raised.value)
    assert line.startswith(
        mismatch_message(mismatched_server, other_qdrant.grpc_port, "gRPC does not know the collection 'findme-proof-").partition(
            "-proof-"
        )[0]
    )
    assert (collections_of(mismatched_server), collections_of(other_qdrant)) == ([], before)


@pytest.mark.qdrant_server
def test_qdrant__grpc_of_another_server_with_the_same_collection__is_refused(
    mismatched_server: QdrantServer, other_qdrant: QdrantServer
) -> None:
    for server in (mismatched_server, other_qdrant):
        make_collection(server, "same-name")
    with pytest.raises(StoreUnavailable) as raised, qdrant():
        pass
    assert str(raised.value) == mismatch_message(mismatched_server, other_qdrant.grpc_port, "by gRPC 'same-name' is on other peers")


@pytest.mark.qdrant_server
def test_qdrant__grpc_of_a_server_with_another_key__is_refused(
    mismatched_server: QdrantServer, memory_path: Path, settings: Settings
) -> None:
    make_collection(mismatched_server, "a")
    (memory_path / "locked").mkdir()
    with started_qdrant(memory_path / "locked", SERVICE__API_KEY="another") as locked:
        settings.QDRANT_GRPC_PORT = locked.grpc_port
        with pytest.raises(StoreUnavailable) as raised, qdrant():
            pass
        assert str(raised.value) == mismatch_message(mismatched_server, locked.grpc_port, "gRPC does not accept the key that REST accepts")


@pytest.mark.qdrant_server
def test_qdrant__grpc_of_another_version__is_refused(other_qdrant: QdrantServer, settings: Settings) -> None:
    with answering(200, {"result": {"collections": []}, "status": "ok", "time": 0}, version="1.20.77") as port:
        settings.QDRANT_URL, settings.QDRANT_API_KEY, settings.QDRANT_GRPC_PORT = f"http://127.0.0.1:{port}", "", other_qdrant.grpc_port
        with pytest.raises(StoreUnavailable, match=r"REST answers as version '1\.20\.77', gRPC as '1\."), qdrant():
            pass


@pytest.mark.qdrant_server
@pytest.mark.parametrize("collections", [[], ["a"]])
def test_qdrant__grpc_of_the_same_server__is_accepted_and_leaves_no_collection(
    memory_path: Path, settings: Settings, collections: list[str]
) -> None:
    with started_qdrant(memory_path) as server:
        for name in collections:
            make_collection(server, name)
        settings.QDRANT_URL, settings.QDRANT_API_KEY, settings.QDRANT_GRPC_PORT = server.url, "", server.grpc_port
        with qdrant() as client:
            assert [collection.name for collection in client.get_collections().collections] == collections
        assert collections_of(server) == collections


@pytest.mark.qdrant_server
def test_qdrant__collection_deleted_during_the_grpc_check__is_accepted(
    memory_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The collection is missing only by gRPC, and no other collection can show that the servers are the same."""
    original = vectorstore.qdrant.server._peers_by_grpc

    def meanwhile(collection: str, client: QdrantClient, *arguments: Any) -> set[int] | None:
        if collection == "a":
            client.delete_collection("a")
        return original(collection, client, *arguments)

    monkeypatch.setattr(vectorstore.qdrant.server, "_peers_by_grpc", meanwhile)
    with started_qdrant(memory_path) as server:
        make_collection(server, "a")
        settings.QDRANT_URL, settings.QDRANT_API_KEY, settings.QDRANT_GRPC_PORT = server.url, "", server.grpc_port
        with qdrant() as client:
            assert client.get_collections().collections == []


@pytest.mark.qdrant_server
def test_qdrant__grpc_port_speaks_rest__is_refused(other_qdrant: QdrantServer, settings: Settings) -> None:
    rest_port = int(other_qdrant.url.rpartition(":")[2])
    settings.QDRANT_URL, settings.QDRANT_API_KEY, settings.QDRANT_GRPC_PORT = other_qdrant.url, "", rest_port
    with pytest.raises(StoreUnavailable, match=f"^No gRPC at port {rest_port} of '127.0.0.1' "), qdrant():
        pass
