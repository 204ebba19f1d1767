"""The embedded Qdrant: qdrant-client's local mode on a folder, held by one thread of one process at a time."""

from __future__ import annotations

import atexit
import errno
import logging
import os
import re
import sqlite3
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from qdrant_client import QdrantClient
from qdrant_client.local.qdrant_local import META_INFO_FILENAME

from findme.core.errors import StoreUnavailable, StoreUnusable, ends_of, one_line
from findme.core.file_lock import lock_file
from findme.core.folders import distrust_reason, distrusted_file, make_private_folder
from findme.core.waiting import Deadline
from vectorstore.qdrant import embedded_storage
from vectorstore.qdrant.embedded_storage import LOCK_FILE_NAME
from vectorstore.qdrant.errors import CollectionNotFound, RequestRejected, raised_by_driver

LOCK_FILE = "findme.lock"
"""Contains the id of the process that holds its lock."""
TURN_FILE = "findme.turn"
"""The next process holds the lock of this file, and a process that has just released the folder waits for it.

Without it, a worker would take the folder again before another process could notice that it was free.
"""
FILES = (META_INFO_FILENAME, LOCK_FILE_NAME, LOCK_FILE, TURN_FILE, "collection")
"""The files that the client and this module create and read. FindMe does not own other files in the folder."""
PERMANENT_ERRORS = frozenset({errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.EROFS})
PERMANENT_SQLITE_ERRORS = ("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM")
"""Errors of a folder that do not end by waiting."""
ANOTHER_CLIENT = "another program that uses qdrant-client"
MANY_POINTS = 20_000
"""Above this number Qdrant advises against its local mode."""

log = logging.getLogger(__name__)


class Folder:
    """A folder with an embedded Qdrant, held by one thread of one process at a time. That thread may enter again."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.depth = 0
        self.client: QdrantClient | None = None
        self.storage_error: sqlite3.DatabaseError | None = None
        """An error of the file since the folder was opened. The client changes its memory first, so its answers differ from the file afterwards."""
        self.locks = ExitStack()
        self.owner = threading.RLock()
        self.holder: int | None = None
        self.turn = threading.Lock()
        """The same as ``TURN_FILE``, for the threads of this process."""
        self.has_warned_of_size = False

    @contextmanager
    def held(self, seconds: float) -> Iterator[QdrantClient]:
        """Yield the folder's client, opened on the first entry and closed after the last exit.

        Wait up to ``seconds`` for other holders. Raise StoreUnavailable in one line, and CollectionNotFound. After an error of its file the folder is
        unavailable until the last exit.
        """
        deadline = Deadline(seconds)
        self._take_turn(deadline)
        try:
            if self.depth == 0:
                self._open(deadline)
                self.holder = threading.get_ident()
            elif self.storage_error is not None:
                raise self._from_storage(self.storage_error) from self.storage_error
            self.depth += 1
            try:
                with self._translate_errors():
                    assert self.client is not None
                    yield self.client
            finally:
                self.depth -= 1
                if self.depth == 0:
                    self.holder = None
                    self.close()
        finally:
            self.owner.release()

    def _take_turn(self, deadline: Deadline) -> None:
        """Wait until this thread may hold the folder. A thread that holds it already does not wait for its turn."""
        if self.holder == threading.get_ident():
            self.owner.acquire()
            return
        if self.turn.acquire(timeout=deadline.seconds):
            try:
                if self.owner.acquire(timeout=deadline.remaining()):
                    return
            finally:
                self.turn.release()
        raise self._in_use(f"another thread of this process, {os.getpid()}", deadline)

    def close(self) -> None:
        """Close the client and release the locks.

        This runs at interpreter exit too: a client that is closed after its modules were unloaded prints a traceback.
        """
        client, self.client, self.storage_error = self.client, None, None
        try:
            if client is not None:
                self._warn_of_size(client)
                client.close()
        finally:
            self.locks.close()

    def _open(self, deadline: Deadline) -> None:
        """Lock the folder, then open it: the client reads the whole folder before it takes its own lock."""
        try:
            # Check first: make_private_folder must not follow another account's link.
            self._require_trusted(distrust_reason(Path(self.path)))
            make_private_folder(Path(self.path))
            self._require_trusted(distrust_reason(Path(self.path)))
            self._lock(deadline)
            self._require_trusted(distrusted_file(Path(self.path), FILES))
            self.client = self._opened(deadline)
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise self._unusable(error) from error
            raise

    def _require_trusted(self, reason: str | None) -> None:
        """Raise StoreUnusable if ``reason`` is not None.

        The client unpickles the files in the folder, so another account that can write them can run code as this account.
        """
        if reason is not None:
            raise StoreUnusable(
                f"QDRANT_PATH is {self.path!r}, {reason}: nothing was read. Only you or root may own and write it: correct that, or name another folder."
            )

    def _lock(self, deadline: Deadline) -> None:
        turn, lock, of_client = (Path(self.path, name) for name in (TURN_FILE, LOCK_FILE, LOCK_FILE_NAME))

        def busy() -> StoreUnavailable:
            pid = lock.read_text(errors="replace").strip() if lock.exists() else ""
            return self._in_use(f"process {pid}" if pid.isdigit() else "another process", deadline)

        with lock_file(turn, deadline.remaining(), busy):
            descriptor = self.locks.enter_context(lock_file(lock, deadline.remaining(), busy))
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        with lock_file(of_client, deadline.remaining(), lambda: self._in_use(ANOTHER_CLIENT, deadline)):
            pass  # The client takes this lock without waiting, so it must be free.

    def _opened(self, deadline: Deadline) -> QdrantClient:
        # _warn_of_size logs one line that names the solution.
        warnings.filterwarnings("ignore", message="Local mode is not recommended", category=UserWarning)
        try:
            return embedded_storage.opened(self.path)
        except RuntimeError as error:
            raise self._in_use(ANOTHER_CLIENT, deadline) from error
        except sqlite3.OperationalError as error:
            raise self._unusable(error) from error
        except OSError:
            raise
        except Exception as error:
            # After a power failure the bytes may be any pickle, which can fail with any error.
            raise StoreUnusable(self._damaged(error)) from error

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            if raised_by_driver(error) and (missing := re.fullmatch("Collection (.*) not found", str(error))):
                raise CollectionNotFound(missing[1]) from error
            if raised_by_driver(error) and str(error).startswith("Wrong input: "):
                raise RequestRejected(
                    f"The embedded vector store rejected this: {ends_of(one_line(error))}. See manage.py init_qdrant --check."
                ) from error
            raise
        except sqlite3.DatabaseError as error:
            self.storage_error = error
            raise self._from_storage(error) from error
        except OSError as error:
            if raised_by_driver(error):
                raise self._unusable(error) from error
            raise

    def _from_storage(self, error: sqlite3.DatabaseError) -> StoreUnavailable:
        return self._unusable(error) if isinstance(error, sqlite3.OperationalError) else StoreUnusable(self._damaged(error))

    def _warn_of_size(self, client: QdrantClient) -> None:
        if self.has_warned_of_size:
            return
        points = sum(client.count(collection.name).count for collection in client.get_collections().collections)
        if points > MANY_POINTS:
            self.has_warned_of_size = True
            log.warning("The embedded vector store holds %s points and is slow above %s: set QDRANT_URL to a server.", points, MANY_POINTS)

    def _in_use(self, by: str, deadline: Deadline) -> StoreUnavailable:
        return StoreUnavailable(
            f"The embedded vector store {self.path!r} is in use by {by} (waited {deadline.seconds:g} s):"
            " run it again later, or set QDRANT_URL to a server."
        )

    def _unusable(self, error: OSError | sqlite3.OperationalError) -> StoreUnavailable:
        """Return the error for a folder that cannot be used.

        A full disk is a temporary error. A wrong path or permission is permanent.
        """
        if (blocking_path := self._blocking_path()) is not None:
            what = "which" if blocking_path == Path(self.path) else f"and {str(blocking_path)!r}"
            return StoreUnusable(f"QDRANT_PATH is {self.path!r}, {what} is no folder. Name a folder, or one that can be made.")
        why = error.strerror or error if isinstance(error, OSError) else error
        is_permanent = (
            error.errno in PERMANENT_ERRORS if isinstance(error, OSError) else _sqlite_name(error).startswith(PERMANENT_SQLITE_ERRORS)
        )
        kind = StoreUnusable if is_permanent else StoreUnavailable
        return kind(f"The embedded vector store {self.path!r} cannot be used: {why}. Check the folder, or name another one in QDRANT_PATH.")

    def _blocking_path(self) -> Path | None:
        """Return the file that is in the place of the folder or of a parent folder, or None."""
        for path in (Path(self.path), *Path(self.path).parents):
            with suppress(OSError):
                if stat.S_ISDIR(path.stat().st_mode):
                    return None
                return path
        return None

    def _damaged(self, error: Exception) -> str:
        words = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        return (
            f"The embedded vector store {self.path!r} is damaged ({words}): delete the folder, then run manage.py init_qdrant"
            " and manage.py sync_qdrant --once, which fill it again from PostgreSQL."
        )


_folders: dict[str, Folder] = {}
_looking_up = threading.Lock()


def folder_at(path: str) -> Folder:
    """Return the process's only object for the folder, for every spelling of its path.

    A forked child does not use its parent's objects.
    """
    with _looking_up:
        return _folders.setdefault(f"{os.getpid()}:{os.path.realpath(path)}", Folder(os.path.realpath(path)))


def _sqlite_name(error: sqlite3.Error) -> str:
    """Return SQLite's name of the error, empty for an error of Python itself."""
    return getattr(error, "sqlite_errorname", "")


@atexit.register
def _close_all() -> None:
    """Close the folders that this process opened. A forked child that closed its parent's client would unlock the parent's folder."""
    for name, folder in list(_folders.items()):
        if name.startswith(f"{os.getpid()}:"):
            with suppress(Exception):
                folder.close()
