"""Downloaded snapshots hold every point: no run leaves one without a note in PostgreSQL."""

from __future__ import annotations

import signal
import socket
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from findme.core.errors import StoreUnavailable, UserFacingError
from tests.support.commands import outcome, run_python
from tests.support.waiting import wait_until
from vectorstore.catalog.alias import live_collection
from vectorstore.catalog.lock import collection_lock
from vectorstore.models import StoreState
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.schema.initialize import initialize
from vectorstore.snapshots import downloads as module
from vectorstore.snapshots import temporary
from vectorstore.snapshots.downloads import PREFIX, delete_downloads, download_folder, downloads
from vectorstore.snapshots.nodes import every_node
from vectorstore.snapshots.repository import create, list_snapshots
from vectorstore.snapshots.temporary import temporary_snapshots
from vectorstore.snapshots.transfer import make

pytestmark = pytest.mark.django_db(transaction=True)


class Stopped(Exception):
    """Ends a block early."""


def test_download_folder__block_ends_or_fails__is_deleted(embedded_qdrant: object, tmp_path: Path) -> None:
    with suppress(Stopped), download_folder(tmp_path) as folder:
        (folder / "file").write_text("points")
        assert [one.folder for one in downloads()] == [str(folder)]
        raise Stopped
    assert (list(tmp_path.iterdir()), downloads()) == ([], ())


KILLED = """
import os, signal, sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from vectorstore.snapshots.downloads import download_folder

with download_folder(Path(sys.argv[1])) as folder:
    (folder / "file").write_text("points")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.qdrant_server
def test_init_qdrant__after_a_kill__deletes_the_downloaded_file(qdrant_server: object, tmp_path: Path) -> None:
    initialize()
    code, _, stderr = run_python(KILLED, tmp_path)
    assert code == -signal.SIGKILL, stderr
    (folder,) = tmp_path.iterdir()
    assert [one.folder for one in downloads()] == [str(folder)]
    assert outcome("init_qdrant") == (0, "")
    assert (list(tmp_path.iterdir()), downloads()) == ([], ())


@pytest.mark.qdrant_server
def test_purge_qdrant__download_of_a_killed_run__is_named_and_deleted(
    qdrant_server: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    initialize()
    here, elsewhere = tmp_path / f"{PREFIX}1", tmp_path / f"{PREFIX}2"
    here.mkdir()
    alias = collection_name()
    StoreState.objects.update(
        downloads=[
            {"host": socket.gethostname(), "folder": str(here), "alias": alias},
            {"host": "another.example", "folder": str(elsewhere), "alias": alias},
        ]
    )
    assert outcome("purge_qdrant", "--dry-run")[0] == 1
    printed = capsys.readouterr().out
    assert f"in {str(here)!r} on {socket.gethostname()!r}, with every point: this command deletes it." in printed
    assert f"in {str(elsewhere)!r} on 'another.example', with every point: run this command on that machine" in printed
    assert here.is_dir()
    assert outcome("purge_qdrant")[0] == 1
    assert not here.exists()
    assert [one.host for one in downloads()] == ["another.example"]


@pytest.mark.parametrize("what", ["another name", "a file"])
def test_delete_downloads__not_a_folder_of_ours__is_refused(embedded_qdrant: object, tmp_path: Path, what: str) -> None:
    path = tmp_path / ("letters" if what == "another name" else f"{PREFIX}1")
    if what == "a file":
        path.write_text("mine")
    else:
        path.mkdir()
    StoreState.current()
    StoreState.objects.update(downloads=[{"host": socket.gethostname(), "folder": str(path), "alias": collection_name()}])
    with pytest.raises(UserFacingError, match="is not a folder of this account"):
        delete_downloads()
    assert path.exists()


# --- Snapshots on the server ---------------------------------------------------------------------------------------------------------

KILLED_WHILE_MAKING = """
import os, signal, sys
from pathlib import Path
from vectorstore.catalog.alias import live_collection
from vectorstore.catalog.lock import collection_lock
from vectorstore.qdrant.connection import qdrant
from vectorstore.snapshots import temporary
from vectorstore.snapshots.downloads import download_folder
from vectorstore.snapshots.nodes import every_node

def kill(*_arguments, **_options):
    os.kill(os.getpid(), signal.SIGKILL)

setattr(temporary, sys.argv[2], kill)
with collection_lock(), qdrant() as client:
    nodes, collection = every_node(client, ()), live_collection(client)
    with download_folder(Path(sys.argv[1])) as folder:
        with temporary.temporary_snapshots(nodes, collection, folder, seconds=60):
            pass
"""


@pytest.mark.qdrant_server
@pytest.mark.parametrize("moment", ["make", "note_snapshot", "snapshots_of", "delete_on", "forget_snapshot"])
def test_delete_downloads__killed_at_any_step__deletes_the_snapshot(qdrant_server: object, tmp_path: Path, moment: str) -> None:
    """Qdrant names a snapshot, so a run that is killed before it can note the name has noted the intention."""
    initialize()
    code, _, stderr = run_python(KILLED_WHILE_MAKING, tmp_path, moment)
    assert code == -signal.SIGKILL, stderr
    is_made, is_noted = moment not in ("make", "forget_snapshot"), moment not in ("make", "note_snapshot")
    assert len(list_snapshots().snapshots) == is_made
    (noted,) = downloads()
    assert (len(noted.snapshots), len(noted.intended)) == (is_noted, not is_noted)
    with collection_lock():
        delete_downloads()
    assert (list_snapshots().snapshots, list(tmp_path.iterdir()), downloads()) == ((), [], ())


@pytest.mark.qdrant_server
def test_delete_downloads__snapshots_of_the_operator__stay(qdrant_server: object, tmp_path: Path) -> None:
    initialize()
    (before,) = create()
    wait_for_the_next_second(before.made_at)
    assert run_python(KILLED_WHILE_MAKING, tmp_path, "note_snapshot")[0] == -signal.SIGKILL
    (made,) = [one for one in list_snapshots().snapshots if one != before]
    wait_for_the_next_second(made.made_at)
    (after,) = create()
    with collection_lock():
        delete_downloads()
    assert set(list_snapshots().snapshots) == {before, after}


@pytest.mark.qdrant_server
def test_delete_downloads__snapshot_was_never_made__is_forgotten_after_an_hour(
    qdrant_server: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    initialize()
    assert run_python(KILLED_WHILE_MAKING, tmp_path, "make")[0] == -signal.SIGKILL
    with collection_lock():
        delete_downloads()
        assert len(StoreState.current().downloads) == 1
        monkeypatch.setattr(module, "FORGOTTEN_AFTER", timedelta(0))
        monkeypatch.setattr(module, "server_time", lambda _address: datetime.now(UTC) + timedelta(minutes=1))
        delete_downloads()
    assert StoreState.current().downloads == []


@pytest.mark.qdrant_server
def test_temporary_snapshots__qdrant_does_not_answer__the_next_run_deletes_it(
    qdrant_server: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Qdrant completes a snapshot although the client stopped waiting. The folder is gone, and the note stays."""
    initialize()

    def make_without_answer(*arguments: Any, **options: Any) -> str:
        make(*arguments, **options)
        raise StoreUnavailable("no answer")

    monkeypatch.setattr(temporary, "make", make_without_answer)
    with qdrant() as client, collection_lock():
        nodes, collection = every_node(client, ()), live_collection(client)
        with (
            pytest.raises(StoreUnavailable),
            download_folder(tmp_path) as folder,
            temporary_snapshots(nodes, collection, folder, seconds=60),
        ):
            pass
        assert (list(tmp_path.iterdir()), downloads(), len(list_snapshots().snapshots)) == ([], (), 1)
        delete_downloads()
    assert (list_snapshots().snapshots, StoreState.current().downloads) == ((), [])


def wait_for_the_next_second(time: datetime) -> None:
    """Wait until the name of the next snapshot is another one."""
    wait_until(lambda: datetime.now(UTC) > time + timedelta(seconds=1.1))
