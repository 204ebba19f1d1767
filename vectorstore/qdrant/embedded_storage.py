"""A faster SQLite storage for qdrant-client's local mode.

qdrant-client commits each point by itself, and SQLite then waits for the disk: 40 points a second on a busy disk. Here one request is one
transaction, and SQLite does not wait for the disk at all (``synchronous = OFF``). Written data survives a killed process, because the operating
system has it. After a power failure the folder may be damaged. It is then filled again from PostgreSQL.

SQLite overwrites what it deletes with zeros (``secure_delete``), so no byte of a deleted point is left in the file.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from qdrant_client import QdrantClient
from qdrant_client.local import local_collection
from qdrant_client.local.persistence import STORAGE_FILE_NAME, STORAGE_FILE_NAME_OLD, CollectionPersistence
from qdrant_client.local.qdrant_local import META_INFO_FILENAME
from qdrant_client.models import PointStruct

LOCK_FILE_NAME = ".lock"
"""qdrant-client's own lock. The client takes it without waiting, after it has read all files."""
REQUESTS = ("upsert", "delete", "delete_payload")
"""The requests of this project that can write many points."""

OVERWRITTEN = 1
"""The ``user_version`` of a file in which everything that was deleted is overwritten."""


class _Requests(threading.local):
    """The connections of this thread with uncommitted changes, None between requests."""

    uncommitted: set[_Connection] | None = None


_request = _Requests()


class _Connection(sqlite3.Connection):
    """A connection that commits at the end of the request."""

    def commit(self) -> None:
        if _request.uncommitted is None:
            super().commit()
        else:
            _request.uncommitted.add(self)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> Literal[False]:
        if error is None:
            self.commit()
        else:
            self.rollback()
        return False


class Persistence(CollectionPersistence):
    """The file of one collection."""

    def __init__(self, location: str, force_disable_check_same_thread: bool = False) -> None:
        _make_private(Path(location))
        super().__init__(location, force_disable_check_same_thread)
        self.storage.close()
        self.storage = sqlite3.connect(str(self.location), check_same_thread=bool(self.CHECK_SAME_THREAD), factory=_Connection)
        self.storage.execute("PRAGMA synchronous = OFF")
        self.storage.execute("PRAGMA secure_delete = ON")
        if self.storage.execute("PRAGMA user_version").fetchone() != (OVERWRITTEN,):
            # Another program can have written the file. Its free pages are dropped once.
            self.storage.execute("VACUUM")
            self.storage.execute(f"PRAGMA user_version = {OVERWRITTEN}")

    def persist(self, point: PointStruct) -> None:
        super().persist(_with_array(point))


@contextmanager
def one_commit() -> Iterator[None]:
    """Commit the changes of the block together, at its end."""
    uncommitted: set[_Connection] = set()
    _request.uncommitted = uncommitted
    try:
        yield
    finally:
        _request.uncommitted = None
        for connection in uncommitted:
            connection.commit()


def opened(path: str) -> QdrantClient:
    """Return a client of the folder. Raise the driver's errors."""
    _create_private(Path(path, META_INFO_FILENAME), b'{"collections": {}, "aliases": {}}')
    _create_private(Path(path, LOCK_FILE_NAME))
    client = QdrantClient(path=path)
    # Without this, the client searches every number of every vector for a text to embed, which takes three quarters of an upsert.
    client.cloud_inference = True
    for name in REQUESTS:
        request: Callable[..., Any] = getattr(client._client, name)
        setattr(client._client, name, one_commit()(request))
    return client


def _make_private(folder: Path) -> None:
    """Make a collection's folder and file readable by their owner only. SQLite gives its journal the mode of the file."""
    for path in (folder.parent, folder):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.stat().st_uid == os.geteuid():
            path.chmod(0o700)
    # The client converts an old file only if the new file does not exist.
    if not (folder / STORAGE_FILE_NAME_OLD).exists():
        _create_private(folder / STORAGE_FILE_NAME)


def _create_private(path: Path, content: bytes = b"") -> None:
    """Create a file of mode 0600 if it does not exist. The client would create it with the mode of the umask."""
    with suppress(FileExistsError), os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(content)


def _with_array(point: PointStruct) -> PointStruct:
    """Return the point with its vector as an array of 32-bit numbers, which is read five times faster than a list of 512 objects.

    qdrant-client can read both forms.
    """
    vector = point.vector
    if not isinstance(vector, list) or not vector or isinstance(vector[0], list):
        return point
    return PointStruct.model_construct(id=point.id, vector={"": np.array(vector, np.float32)}, payload=point.payload)


# qdrant-client has no other way to replace the class of a collection's file.
setattr(local_collection, "CollectionPersistence", Persistence)  # noqa: B010
