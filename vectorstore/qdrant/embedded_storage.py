"""How the embedded Qdrant keeps its points on disk: SQLite, as qdrant-client's local mode has it, made fast enough for one folder that many use.

qdrant-client commits each point by itself, and SQLite then waits for the disk: 40 points a second on a busy one. Here a request is one
transaction, and SQLite does not wait for the disk at all (``synchronous = OFF``). What was written survives a killed process, since the operating
system has it; after a power failure the folder may be damaged, and is filled again from PostgreSQL.
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
"""qdrant-client's own lock, which it takes without waiting, after it has read everything."""
REQUESTS = ("upsert", "delete", "delete_payload")
"""Those that may write many points, and that this project sends."""


class _Requests(threading.local):
    """The connections of this thread that have something to commit; None between requests."""

    uncommitted: set[_Connection] | None = None


_request = _Requests()


class _Connection(sqlite3.Connection):
    """Leaves commits to the end of the request."""

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
    """One collection's file."""

    def __init__(self, location: str, force_disable_check_same_thread: bool = False) -> None:
        _make_private(Path(location))
        super().__init__(location, force_disable_check_same_thread)
        self.storage.close()
        self.storage = sqlite3.connect(str(self.location), check_same_thread=bool(self.CHECK_SAME_THREAD), factory=_Connection)
        self.storage.execute("PRAGMA synchronous = OFF")

    def persist(self, point: PointStruct) -> None:
        super().persist(_with_array(point))


@contextmanager
def one_commit() -> Iterator[None]:
    """Commit what the block writes all at once, at its end."""
    uncommitted: set[_Connection] = set()
    _request.uncommitted = uncommitted
    try:
        yield
    finally:
        _request.uncommitted = None
        for connection in uncommitted:
            connection.commit()


def opened(path: str) -> QdrantClient:
    """Return a client of the folder. Raises what the driver raises."""
    _create_private(Path(path, META_INFO_FILENAME), b'{"collections": {}, "aliases": {}}')
    _create_private(Path(path, LOCK_FILE_NAME))
    client = QdrantClient(path=path)
    # Or it looks at every number of every vector for a text to make a vector of, which takes three quarters of an upsert. There is none.
    client.cloud_inference = True
    for name in REQUESTS:
        request: Callable[..., Any] = getattr(client._client, name)
        setattr(client._client, name, one_commit()(request))
    return client


def _make_private(folder: Path) -> None:
    """Have a collection's folder and file be readable for their owner only. SQLite gives its journal the mode of the file."""
    for path in (folder.parent, folder):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.stat().st_uid == os.geteuid():
            path.chmod(0o700)
    if not (folder / STORAGE_FILE_NAME_OLD).exists():  # the client makes the new file of the old one only where there is none
        _create_private(folder / STORAGE_FILE_NAME)


def _create_private(path: Path, content: bytes = b"") -> None:
    """Create a file of mode 0600, unless it exists: the client would create it with the mode that the umask gives."""
    with suppress(FileExistsError), os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(content)


def _with_array(point: PointStruct) -> PointStruct:
    """As qdrant-client reads it too: an array of 32-bit numbers is read five times faster than a list of 512 objects."""
    vector = point.vector
    if not isinstance(vector, list) or not vector or isinstance(vector[0], list):
        return point
    return PointStruct.model_construct(id=point.id, vector={"": np.array(vector, np.float32)}, payload=point.payload)


# The class that a collection makes its file with has no other way in.
setattr(local_collection, "CollectionPersistence", Persistence)  # noqa: B010
