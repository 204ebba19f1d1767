"""Downloaded snapshots that a command needs for some minutes, each in a folder of its own.

The folder has mode 0700, and the file in it 0600. It holds a copy of every point, so it is noted in PostgreSQL before it is created. After a kill a
later run on the same machine deletes it.

The snapshots on the servers, from which the files are downloaded, are noted and deleted too. Qdrant chooses the name of a snapshot, so the intention to
make one is noted first, with the server's time. A run that was killed in between has left the first snapshot since then.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import shutil
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from findme.core.errors import UserFacingError
from vectorstore.models import StoreState
from vectorstore.qdrant.address import server_address
from vectorstore.qdrant.connection import collection_name
from vectorstore.queue.transactions import short_transaction
from vectorstore.snapshots.nodes import Node
from vectorstore.snapshots.repository import delete_on, snapshots_of
from vectorstore.snapshots.transfer import server_time

PREFIX = "findme-snapshot-"
MADE_WITHIN = timedelta(seconds=30)
"""How long after the intention Qdrant begins the snapshot at the latest. Its name has the time of the beginning."""
FORGOTTEN_AFTER = timedelta(hours=1)
"""A snapshot that is not listed by then was never made."""
NAME = re.compile(r"(?P<collection>.+)-\d+-(?P<time>\d{4}(?:-\d\d){5})\.snapshot")

log = logging.getLogger("findme.vectorstore")


@dataclass(frozen=True, slots=True, order=True)
class Download:
    """A folder on ``host`` that holds, or may hold, a downloaded snapshot for the collections of ``alias``.

    ``snapshots`` were made for it and may still be on the servers: the URL of each server, and the name. ``intended`` may have been made: the URL of the
    server, the collection, the server's time before the request, and the names of the snapshots that were there before. ``is_deleted``: the folder is gone,
    and only these may be left.
    """

    host: str
    folder: str
    alias: str
    snapshots: tuple[tuple[str, str], ...] = ()
    intended: tuple[tuple[str, ...], ...] = ()
    is_deleted: bool = False

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
    return tuple(one for one in _noted() if not one.is_deleted)


def delete_downloads() -> tuple[Download, ...]:
    """Delete the folders of killed runs on this machine. Return those that remain on other machines. Only under ``collection_lock``.

    Snapshots that these runs made are deleted on the servers, whichever machine the folder is on.
    """
    for one in _noted():
        for url, name in one.snapshots:
            _delete_snapshot(url, name)
        open_intentions = tuple(intention for intention in one.intended if not _settle(*intention))
        _change(one.host, one.folder, lambda _: {"snapshots": [], "intended": open_intentions})  # noqa: B023  # called at once
        if one.is_here and not one.is_deleted:
            delete_download(one)
    return downloads()


def note_intention(folder: Path, node: Node, collection: str) -> None:
    """Note that a snapshot of the collection is made next on the node, to be downloaded into the folder.

    The snapshots that the node has now are noted too, and never deleted: the time in a name may be of the same second.
    """
    known = (one.name for one in snapshots_of(node, collection))
    intention = (node.address.url, collection, server_time(node.address).isoformat(), *known)
    _change(socket.gethostname(), str(folder), lambda one: {"intended": [*one.get("intended", []), intention]})


def note_snapshot(folder: Path, url: str, name: str) -> None:
    """Note a snapshot that was made on the server at ``url`` to be downloaded into the folder, instead of the intention."""
    _change(
        socket.gethostname(),
        str(folder),
        lambda one: {
            "snapshots": [*one.get("snapshots", []), (url, name)],
            "intended": [intention for intention in one.get("intended", []) if intention[0] != url],
        },
    )


def forget_snapshot(folder: Path, url: str, name: str) -> None:
    """Delete the note of a snapshot that is not on the server any more."""
    _change(
        socket.gethostname(),
        str(folder),
        lambda one: {"snapshots": [noted for noted in one.get("snapshots", []) if tuple(noted) != (url, name)]},
    )


def delete_download(download: Download) -> None:
    """Delete the folder with its content, then its note. Raises UserFacingError if it remains.

    Snapshots that may be left on the servers stay noted.
    """
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
    _change(download.host, download.folder, lambda _: {"is_deleted": True})


def require_room(folder: Path, size: int) -> None:
    """Raise UserFacingError if the file system of ``folder`` has less than ``size`` bytes left."""
    free = shutil.disk_usage(folder).free
    if free < size:
        raise UserFacingError(
            f"The snapshot needs {size:,} bytes in {str(folder.parent)!r}, which has {free:,} left. Make room, or name another folder with"
            " --temporary-folder."
        )


def _noted() -> tuple[Download, ...]:
    """Return all notes of this alias."""
    found = (
        Download(**one | {name: tuple(map(tuple, one.get(name, []))) for name in ("snapshots", "intended")})
        for one in StoreState.current().downloads
    )
    return tuple(sorted(one for one in found if one.alias == collection_name()))


def _change(host: str, folder: str, changes: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Change the note of the folder. Nothing is kept of a note that has become empty."""
    with short_transaction():
        state = StoreState.locked()
        changed = [one | changes(one) if (one["host"], one["folder"]) == (host, folder) else one for one in state.downloads]
        state.downloads = [one for one in changed if not one.get("is_deleted") or one.get("snapshots") or one.get("intended")]
        state.save(update_fields=["downloads"])


def _delete_snapshot(url: str, name: str) -> None:
    node = _node(url)
    if found := NAME.fullmatch(name):
        delete_on([node], [one for one in snapshots_of(node, found["collection"]) if one.name == name])


def _settle(url: str, collection: str, since: str, *known: str) -> bool:
    """Delete the snapshot that was intended. Return whether it is known to be gone: it was deleted, or was never made."""
    node, begun = _node(url), datetime.fromisoformat(since)
    added = (one for one in snapshots_of(node, collection) if one.name not in known)
    made = {time: one for one in added if (time := _begun_at(one.name)) is not None}
    # Names have whole seconds.
    first = min((time for time in made if begun.replace(microsecond=0) <= time <= begun + MADE_WITHIN), default=None)
    if first is None:
        return server_time(node.address) > begun + FORGOTTEN_AFTER
    log.info("Deleting the snapshot %s, which a run that was ended has left on the server.", made[first].name)
    delete_on([node], [made[first]])
    return True


def _begun_at(name: str) -> datetime | None:
    found = NAME.fullmatch(name)
    return datetime.strptime(found["time"], "%Y-%m-%d-%H-%M-%S").replace(tzinfo=UTC) if found else None


def _node(url: str) -> Node:
    return Node(0, replace(server_address(), url=url, grpc_port=0))


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
