"""Downloaded snapshots hold every point: no run leaves one without a note in PostgreSQL."""

from __future__ import annotations

import signal
import socket
from contextlib import suppress
from pathlib import Path

import pytest

from findme.core.errors import UserFacingError
from tests.support.commands import outcome, run_python
from vectorstore.models import StoreState
from vectorstore.qdrant.connection import collection_name
from vectorstore.schema.initialize import initialize
from vectorstore.snapshots.downloads import PREFIX, delete_downloads, download_folder, downloads

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
from pathlib import Path
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
