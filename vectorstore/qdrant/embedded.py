"""The embedded Qdrant: the client's local mode on a folder, for one holder at a time, whichever process and thread it is in."""

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

from findme.core.errors import StoreUnavailable, StoreUnusable
from findme.core.file_lock import lock_file
from findme.core.folders import distrust_reason, distrusted_file, make_private_folder
from findme.core.waiting import Deadline
from vectorstore.qdrant import embedded_storage
from vectorstore.qdrant.embedded_storage import LOCK_FILE_NAME
from vectorstore.qdrant.errors import CollectionNotFound, RequestRejected, raised_by_driver

LOCK_FILE = "findme.lock"
"""Holds the process id of whoever holds its lock."""
TURN_FILE = "findme.turn"
"""Its lock is held by the process that comes next. The one that has just left waits behind it: without that, a worker would take the folder
again before anybody else has noticed that it was free."""
FILES = (META_INFO_FILENAME, LOCK_FILE_NAME, LOCK_FILE, TURN_FILE, "collection")
"""What the client and this module make in the folder, and read. Other files there are not FindMe's."""
LASTING = frozenset({errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.EROFS})
LASTING_IN_SQLITE = ("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM")
"""Errors of a folder that waiting does not end."""
ANOTHER_CLIENT = "another program that uses qdrant-client"
MANY_POINTS = 20_000
"""Above which Qdrant advises against its local mode."""

log = logging.getLogger(__name__)


class Folder:
    """One folder with an embedded Qdrant. Held by one thread of one process at a time, which may enter it again."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.depth = 0
        self.client: QdrantClient | None = None
        self.locks = ExitStack()
        self.owner = threading.RLock()
        self.holder: int | None = None
        self.turn = threading.Lock()
        """As ``TURN_FILE``, among the threads of this process."""
        self.has_warned_of_size = False

    @contextmanager
    def held(self, seconds: float) -> Iterator[QdrantClient]:
        """The folder's client, opened at the first entry and closed when the last is left; waits SECONDS for other holders.

        Raises StoreUnavailable in one line, and CollectionNotFound.
        """
        deadline = Deadline(seconds)
        self._take_turn(deadline)
        try:
            if self.depth == 0:
                self._open(deadline)
                self.holder = threading.get_ident()
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
        """The thread that has it already does not wait for those that wait for it."""
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
        """Also at the interpreter's end: the client would print a traceback when it is closed after its modules."""
        client, self.client = self.client, None
        try:
            if client is not None:
                self._warn_of_size(client)
                client.close()
        finally:
            self.locks.close()

    def _open(self, deadline: Deadline) -> None:
        """Lock, then open: the client reads the whole folder before it takes a lock of its own."""
        try:
            self._require_trusted(distrust_reason(Path(self.path)))  # before anything is made through another account's link
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
        """The client unpickles what is in the folder: an account that can write there can run code as this one."""
        if reason is not None:
            raise StoreUnusable(
                f"QDRANT_PATH is {self.path!r}, {reason}: nothing was read. Only you or root may own and write it: name another folder, or put that right."
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
            pass  # it is free for the client

    def _opened(self, deadline: Deadline) -> QdrantClient:
        # _tell_of_many says it, in one line that names the way out.
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
            # Bytes that a power failure left may be any pickle, which fails with any error.
            raise StoreUnusable(self._damaged(error)) from error

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            if raised_by_driver(error) and (missing := re.fullmatch("Collection (.*) not found", str(error))):
                raise CollectionNotFound(missing[1]) from error
            if raised_by_driver(error) and str(error).startswith("Wrong input: "):
                raise RequestRejected(f"The embedded vector store refused this: {error}. See manage.py init_qdrant --check.") from error
            raise
        except sqlite3.OperationalError as error:
            raise self._unusable(error) from error
        except sqlite3.DatabaseError as error:
            raise StoreUnusable(self._damaged(error)) from error
        except OSError as error:
            if raised_by_driver(error):
                raise self._unusable(error) from error
            raise

    def _warn_of_size(self, client: QdrantClient) -> None:
        if self.has_warned_of_size:
            return
        points = sum(client.count(collection.name).count for collection in client.get_collections().collections)
        if points > MANY_POINTS:
            self.has_warned_of_size = True
            log.warning("The embedded vector store holds %s points, and is slow above %s: set QDRANT_URL to a server.", points, MANY_POINTS)

    def _in_use(self, by: str, deadline: Deadline) -> StoreUnavailable:
        return StoreUnavailable(
            f"The embedded vector store {self.path!r} is in use by {by} (waited {deadline.seconds:g} s):"
            " run it again later, or set QDRANT_URL to a server."
        )

    def _unusable(self, error: OSError | sqlite3.OperationalError) -> StoreUnavailable:
        """Return the error for a folder that cannot be used. A full disk may have room again; a wrong path or permission stays wrong."""
        if (blocking_path := self._blocking_path()) is not None:
            what = "which" if blocking_path == Path(self.path) else f"and {str(blocking_path)!r}"
            return StoreUnusable(f"QDRANT_PATH is {self.path!r}, {what} is no folder. Name a folder, or one that can be made.")
        why = error.strerror or error if isinstance(error, OSError) else error
        lasting = error.errno in LASTING if isinstance(error, OSError) else _sqlite_name(error).startswith(LASTING_IN_SQLITE)
        kind = StoreUnusable if lasting else StoreUnavailable
        return kind(
            f"The embedded vector store {self.path!r} cannot be used: {why}. See to the folder, or name another one in QDRANT_PATH."
        )

    def _blocking_path(self) -> Path | None:
        """Return what is in the place of the folder, or of one above it, and is no folder."""
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
    """The process's one object for the folder, however its path is written. A forked child has none of its parent's."""
    with _looking_up:
        return _folders.setdefault(f"{os.getpid()}:{os.path.realpath(path)}", Folder(os.path.realpath(path)))


def _sqlite_name(error: sqlite3.Error) -> str:
    """Return SQLite's name of the error, empty for one that Python raised itself."""
    return getattr(error, "sqlite_errorname", "")


@atexit.register
def _close_all() -> None:
    """Only what this process opened: a forked child that closes its parent's client would unlock the folder under it."""
    for name, folder in list(_folders.items()):
        if name.startswith(f"{os.getpid()}:"):
            with suppress(Exception):
                folder.close()
