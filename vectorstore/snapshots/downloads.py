"""Downloaded snapshots that a command needs for some minutes, each in a folder of its own.

The folder has mode 0700, and the file in it 0600. It holds a copy of every point, so it is noted in PostgreSQL before it is created. After a kill a
later run on the same machine deletes it. The snapshots on the servers, from which the files are downloaded, are noted and deleted too.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from findme.core.errors import UserFacingError
from vectorstore.models import StoreState
from vectorstore.qdrant.address import server_address
from vectorstore.qdrant.connection import collection_name
from vectorstore.queue.transactions import short_transaction
from vectorstore.snapshots.nodes import Node
from vectorstore.snapshots.repository import delete_on, snapshots_of

PREFIX = "findme-snapshot-"


@dataclass(frozen=True, slots=True, order=True)
class Download:
    """A folder on ``host`` that holds, or may hold, a downloaded snapshot for the collections of ``alias``.

    ``snapshots`` were made for it and may still be on the servers: the URL of each server, and the name.
    """

    host: str
    folder: str
    alias: str
    snapshots: tuple[tuple[str, str], ...] = ()

    @property
    def is_here(self) -> bool:
        return self.host == socket.gethostname()


@contextmanager
def download_folder(parent: Path | None) -> Iterator[Path]:
    """Yield a new folder in ``parent`` (by default the folder for temporary files), and delete it with its content afterwards.

    Raises UserFacingError if it cannot be created or deleted.
    """
    path = download_parent(parent) / f"{PREFIX}{secrets.token_hex(8)}"
    download = Download(socket.gethostname(), str(path), collection_name())
    _note(download)
    try:
        try:
            path.mkdir(mode=0o700)
        except OSError as error:
            raise UserFacingError(
                f"The folder {str(path)!r} cannot be created: {error.strerror or error}. Name another one with --temporary-folder."
            ) from error
        yield path
    finally:
        delete_download(download)


def download_parent(parent: Path | None) -> Path:
    """Return the folder in which ``download_folder`` creates its folder."""
    return (parent or Path(tempfile.gettempdir())).absolute()


def downloads() -> tuple[Download, ...]:
    """Return the folders that no run has deleted yet."""
    found = (Download(**one | {"snapshots": tuple(map(tuple, one.get("snapshots", [])))}) for one in StoreState.current().downloads)
    return tuple(sorted(one for one in found if one.alias == collection_name()))


def delete_downloads() -> tuple[Download, ...]:
    """Delete the folders of killed runs on this machine. Return those that remain on other machines. Only under ``collection_lock``.

    Snapshots that these runs made are deleted on the servers, whichever machine the folder is on.
    """
    for one in downloads():
        for url, name in one.snapshots:
            _delete_snapshot(url, one.alias, name)
        if one.is_here:
            delete_download(one)
    return downloads()


def note_snapshot(folder: Path, url: str, name: str) -> None:
    """Note a snapshot that was made on the server at ``url`` to be downloaded into the folder."""
    with short_transaction():
        state = StoreState.locked()
        for one in state.downloads:
            if (one["host"], one["folder"]) == (socket.gethostname(), str(folder)):
                one["snapshots"] = [*one.get("snapshots", []), (url, name)]
        state.save(update_fields=["downloads"])


def delete_download(download: Download) -> None:
    """Delete the folder with its content, then the note. Raises UserFacingError if it remains."""
    path = Path(download.folder)
    if os.path.lexists(path):
        _require_ours(path)
        try:
            shutil.rmtree(path)
        except OSError as error:
            raise UserFacingError(
                f"The downloaded snapshot in {str(path)!r} cannot be deleted: {error.strerror or error}. Delete the folder, then run the command"
                " again."
            ) from error
    with short_transaction():
        state = StoreState.locked()
        state.downloads = [one for one in state.downloads if (one["host"], one["folder"]) != (download.host, download.folder)]
        state.save(update_fields=["downloads"])


def require_room(folder: Path, size: int) -> None:
    """Raise UserFacingError if the file system of ``folder`` has less than ``size`` bytes left."""
    free = shutil.disk_usage(folder).free
    if free < size:
        raise UserFacingError(
            f"The snapshot needs {size:,} bytes in {str(folder.parent)!r}, which has {free:,} left. Make room, or name another folder with"
            " --temporary-folder."
        )


def _delete_snapshot(url: str, collection: str, name: str) -> None:
    node = Node(0, replace(server_address(), url=url, grpc_port=0))
    delete_on([node], [one for one in snapshots_of(node, collection) if one.name == name])


def _require_ours(path: Path) -> None:
    """Raise UserFacingError unless the path is a folder of this account with the name of a download."""
    found = path.lstat()
    if not path.name.startswith(PREFIX) or not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise UserFacingError(
            f"{str(path)!r} should hold a downloaded snapshot, but is not a folder of this account. Check it, delete it, then run the command again."
        )


def _note(download: Download) -> None:
    with short_transaction():
        state = StoreState.locked()
        state.downloads = [*state.downloads, asdict(download)]
        state.save(update_fields=["downloads"])
