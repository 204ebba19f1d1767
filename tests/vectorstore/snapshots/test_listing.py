import hashlib
import json
import re
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from pytest_django import Settings

from findme.core.errors import StoreUnavailable, UserFacingError
from tests.factories import ProfileEmbeddingFactory
from tests.qdrant import QdrantServer
from tests.support.commands import manage, started
from tests.support.waiting import DEADLINE_SECONDS, wait_until
from tests.vectorstore.snapshots.snapshot_proxy import altering_proxy, half, half_then_silence, one_wrong_bit, whole
from vectorstore.qdrant.connection import collection_name
from vectorstore.snapshots.repository import create, delete, fetch, list_snapshots, prune
from vectorstore.sync.inline import sync_users

pytestmark = [pytest.mark.django_db, pytest.mark.qdrant_server]


def create_snapshots(count: int) -> list[str]:
    """Create ``count`` snapshots and return their names, the oldest first.

    Qdrant names them by the second, so it would write two of the same second into one file.
    """
    names: list[str] = []
    deadline = time.monotonic() + DEADLINE_SECONDS
    while len(names) < count:
        assert time.monotonic() < deadline
        names.append(create()[0].name)
        while f"{datetime.now(UTC):%Y-%m-%d-%H-%M-%S}" <= names[-1].removesuffix(".snapshot")[-19:]:
            time.sleep(0.01)
    return names


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# --- Creating and listing ------------------------------------------------------------------------------------------------------------


def test_create__returns_a_snapshot_of_the_live_collection(any_collection: QdrantServer) -> None:
    assert list_snapshots().snapshots == ()
    before = datetime.now(UTC) - timedelta(seconds=1)
    (one,) = create()
    assert one.collection == f"{collection_name()}_v1"
    assert one.name.startswith(f"{collection_name()}_v1-")
    assert one.node == any_collection.url
    assert one.size > 0
    assert re.fullmatch("[0-9a-f]{64}", one.sha256)
    assert before <= one.made_at.replace(microsecond=999_999) <= datetime.now(UTC) + timedelta(seconds=1)
    assert list_snapshots().snapshots == (one,)


def test_list_snapshots__other_collections__are_not_listed(collection: QdrantServer) -> None:
    other = f"{collection_name()}_x"
    with httpx.Client(base_url=collection.url, timeout=30) as client:
        client.put(f"/collections/{other}", json={"vectors": {"size": 4, "distance": "Dot"}}).raise_for_status()
        name = client.post(f"/collections/{other}/snapshots").raise_for_status().json()["result"]["name"]
        assert list_snapshots().snapshots == ()
        with pytest.raises(
            UserFacingError, match=rf"There is no snapshot '{re.escape(name)}' of our collections\. See manage\.py qdrant_snapshot list\."
        ):
            delete([name])
        client.delete(f"/collections/{other}/snapshots/{name}").raise_for_status()


def test_create__server_is_gone__is_reported(collection: QdrantServer, settings: Settings) -> None:
    with altering_proxy(collection.url, whole) as url:
        settings.QDRANT_URL = url
        assert list_snapshots().snapshots == ()
    with pytest.raises(StoreUnavailable, match=f"^Nothing answers at QDRANT_URL '{url}'"):
        create()
    settings.QDRANT_URL = collection.url


# --- Fetching ------------------------------------------------------------------------------------------------------------------------


def test_fetch__writes_the_file_and_its_sha256(any_collection: QdrantServer, tmp_path: Path) -> None:
    sync_users([embedding.pk for embedding in ProfileEmbeddingFactory.create_batch(3)])
    (one,) = create()
    steps: list[tuple[int, int | None]] = []
    fetched = fetch(one.name, tmp_path, report=lambda count, total=None: steps.append((count, total)))
    assert (fetched.path, fetched.size, fetched.sha256, fetched.compared) == (tmp_path / one.name, one.size, one.sha256, True)
    assert fetched.path.stat().st_size == one.size
    assert sha256(fetched.path) == one.sha256
    assert fetched.path.stat().st_mode & 0o777 == 0o600
    sha256_file = tmp_path / f"{one.name}.sha256"
    assert sha256_file.read_text() == f"{one.sha256}  {one.name}\n"
    assert sha256_file.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == [one.name, sha256_file.name]
    assert steps == sorted(steps)
    assert steps[-1] == (one.size, one.size)


def test_fetch__asks_for_no_compression(qdrant_server: QdrantServer, settings: Settings, tmp_path: Path) -> None:
    call_command("init_qdrant")
    (one,) = create()
    requests: list[tuple[str, str, dict[str, str]]] = []
    with altering_proxy(qdrant_server.url, whole, requests) as url:
        settings.QDRANT_URL = url
        fetch(one.name, tmp_path)
    delete_from(settings, qdrant_server, one.name)
    (headers,) = [headers for method, path, headers in requests if path.endswith(".snapshot")]
    assert headers["accept-encoding"] == "identity"


def delete_from(settings: Settings, server: QdrantServer, name: str) -> None:
    settings.QDRANT_URL = server.url
    delete([name])


@pytest.fixture
def stored_snapshot(collection: QdrantServer, settings: Settings) -> Iterator[tuple[QdrantServer, str]]:
    """Create a snapshot and yield its server and name. The test downloads it through a proxy."""
    (one,) = create()
    yield collection, one.name
    settings.QDRANT_URL = collection.url


def test_fetch__connection_is_closed__leaves_no_file(stored_snapshot: tuple[QdrantServer, str], settings: Settings, tmp_path: Path) -> None:
    server, name = stored_snapshot
    with altering_proxy(server.url, half) as settings.QDRANT_URL, pytest.raises(StoreUnavailable, match="closed the connection"):
        fetch(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_fetch__content_changed_in_transit__leaves_no_file(
    stored_snapshot: tuple[QdrantServer, str], settings: Settings, tmp_path: Path
) -> None:
    server, name = stored_snapshot
    message = rf"The SHA-256 of the downloaded snapshot '{name}' is [0-9a-f]{{64}}, but Qdrant reports [0-9a-f]{{64}}\. Run the command again\. If it repeats, create another snapshot\."
    with altering_proxy(server.url, one_wrong_bit) as settings.QDRANT_URL, pytest.raises(StoreUnavailable, match=message):
        fetch(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def received(pid: int, folder: Path) -> int:
    """Return the size of the unnamed file that the process writes in ``folder``, or 0."""
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            if str(entry.readlink()).startswith(f"{folder}/#"):
                return entry.stat().st_size
    return 0


@pytest.mark.django_db(transaction=True)
def test_fetch__killed__leaves_no_file(stored_snapshot: tuple[QdrantServer, str], settings: Settings, tmp_path: Path) -> None:
    """The file has no name until it is complete."""
    server, name = stored_snapshot
    with (
        altering_proxy(server.url, half_then_silence) as settings.QDRANT_URL,
        started("qdrant_snapshot", "download", name, tmp_path) as process,
    ):
        wait_until(lambda: process.poll() is not None or received(process.pid, tmp_path))
        process.kill()
        printed, _progress = process.communicate()
    assert (process.returncode, printed) == (-signal.SIGKILL, "")
    assert list(tmp_path.iterdir()) == []
    settings.QDRANT_URL = server.url
    fetched = fetch(name, tmp_path)
    assert sha256(fetched.path) == fetched.sha256
    assert sorted(path.name for path in tmp_path.iterdir()) == [name, f"{name}.sha256"]


def test_fetch__file_exists__is_replaced_only_with_force(collection: QdrantServer, tmp_path: Path) -> None:
    (one,) = create()
    (tmp_path / one.name).write_text("mine")
    with pytest.raises(UserFacingError, match="exists, and is not replaced without --force"):
        fetch(one.name, tmp_path)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]
    fetch(one.name, tmp_path, force=True)
    assert sha256(tmp_path / one.name) == one.sha256


def test_fetch__unknown_snapshot_or_folder__is_refused(collection: QdrantServer, tmp_path: Path) -> None:
    with pytest.raises(
        UserFacingError, match=r"^There is no snapshot 'a\.snapshot' of our collections\. See manage\.py qdrant_snapshot list\.$"
    ):
        fetch("a.snapshot", tmp_path)
    with pytest.raises(UserFacingError, match=r"There is no folder '.*/nowhere'\. Create it first"):
        fetch("a.snapshot", tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


# --- Deleting ------------------------------------------------------------------------------------------------------------------------


def test_prune__keeps_the_newest(any_collection: QdrantServer) -> None:
    oldest, middle, newest = create_snapshots(3)
    assert [one.name for one in list_snapshots().snapshots] == [newest, middle, oldest]
    assert [one.name for one in prune(1, dry_run=True)] == [middle, oldest]
    assert len(list_snapshots().snapshots) == 3
    assert [one.name for one in prune(2)] == [oldest]
    assert [one.name for one in list_snapshots().snapshots] == [newest, middle]
    assert prune(2) == ()
    assert [one.name for one in delete([middle], dry_run=True)] == [middle]
    with pytest.raises(UserFacingError, match="There is no snapshot 'x'"):
        delete([newest, "x"])
    assert [one.name for one in list_snapshots().snapshots] == [newest, middle]
    assert [one.name for one in delete([newest, middle])] == [newest, middle]
    assert list_snapshots().snapshots == ()


# --- The command ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_snapshot_commands__create_list_download_and_delete(collection: QdrantServer, tmp_path: Path) -> None:
    code, stdout, stderr = manage("qdrant_snapshot", "create", "--json")
    assert (code, stderr) == (0, "")
    (one,) = json.loads(stdout)["snapshots"]
    code, stdout, stderr = manage("qdrant_snapshot", "list")
    assert (code, stderr) == (0, "")
    made_at = one["made_at"].removesuffix("+00:00").replace("T", " ")
    assert stdout == f"  {one['name']}  {made_at} UTC  {one['size']:,} bytes  {collection.url}\n1 snapshot.\n"
    assert manage("qdrant_snapshot", "download", one["name"], tmp_path) == (
        0,
        f"{str(tmp_path / one['name'])!r}: {one['size']:,} bytes, SHA-256 {one['sha256']} (equal to Qdrant's).\n",
        "",
    )
    code, stdout, stderr = manage("qdrant_snapshot", "delete", one["name"])
    assert (code, stdout) == (2, "")
    assert stderr == "Standard input is not a terminal, so there is no confirmation: nothing was changed. Add --no-input or --dry-run.\n"
    code, stdout, stderr = manage("qdrant_snapshot", "delete", one["name"], "--dry-run")
    assert (code, stdout.splitlines()[-1], stderr) == (0, "1 snapshot to be deleted.", "")
    code, stdout, stderr = manage("qdrant_snapshot", "delete", one["name"], "--no-input")
    assert (code, stdout.splitlines()[-1], stderr) == (0, "1 snapshot deleted.", "")
    assert manage("qdrant_snapshot", "list") == (0, "0 snapshots.\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: create | list | download | restore | delete | prune"),
        (["prune", "--keep", "0"], "argument --keep: '0' is not a whole number, 1 or more"),
        (["prune"], "the following arguments are required: --keep"),
        (["create", "--wait", "soon"], "argument --wait: 'soon' is not a number of seconds, 0 or more"),
    ],
)
def test_snapshot_commands__invalid_arguments__are_named(qdrant_server: QdrantServer, arguments: list[str], message: str) -> None:
    code, stdout, stderr = manage("qdrant_snapshot", *arguments)
    assert (code, stdout) == (2, "")
    assert stderr == f"{message}. See manage.py qdrant_snapshot --help\n".replace("Error: ", "")


def test_snapshot_commands__node_option_without_a_cluster__is_refused(qdrant_server: QdrantServer) -> None:
    line = f"--node 'http://127.0.0.1:1' is for a cluster, but Qdrant at '{qdrant_server.url}' is a single server. Omit --node."
    with pytest.raises(CommandError, match=re.escape(line)):
        call_command("qdrant_snapshot", "list", "--node", "http://127.0.0.1:1")
