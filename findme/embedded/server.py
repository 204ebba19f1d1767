"""Start and stop the embedded server of a folder."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from findme.embedded import postmaster
from findme.embedded.account import account_for
from findme.embedded.cluster import DATABASE, ROLE, make_cluster, write_access_rules
from findme.embedded.lock import locked
from findme.embedded.paths import Files, Installation, fallback_directory, find_installation, possible_files, require_trusted, write
from findme.embedded.postmaster import PORT, Postmaster


@dataclass(frozen=True)
class Running:
    """A server that accepts connections. ``started`` means that it was not running before."""

    folder: Path
    socket_folder: Path
    pid: int
    version: str
    account: str
    started: bool
    port: int = PORT
    database: str = DATABASE
    user: str = ROLE

    def __str__(self) -> str:
        return (
            f"PostgreSQL {self.version} {'was started' if self.started else 'is running'} as {self.account!r}:"
            f" database {self.database!r} in {self.folder} (`make stop` stops it)"
        )

    @property
    def url(self) -> str:
        return f"postgresql://{self.user}@/{self.database}?host={self.socket_folder}&port={self.port}"


def ensure_running(folder: Path, *, durable: bool = True) -> Running:
    """Start the server for ``folder`` unless it runs. If several processes call this at once, one of them starts it.

    Raises UserFacingError, also if another account owns the folder or can write in it. Without ``durable`` a crash of the machine may
    corrupt the data: use that only for tests.
    """
    require_trusted(folder)
    return running(folder) or _start(find_installation(folder), durable=durable)


def running(folder: Path) -> Running | None:
    """Return the server for ``folder`` if there is one that accepts connections. Raise UserFacingError if another account owns it."""
    for files in possible_files(folder):
        account = account_for(files.data)
        found = postmaster.find(files.data)
        if found is not None and found.is_ready and found.answers():
            return _running(files, found, account.name, started=False)
    return None


def stop(folder: Path) -> int:
    """Stop every server for ``folder`` and return their number. Raise UserFacingError if another account owns one."""
    ended = 0
    for files in possible_files(folder):
        account_for(files.data)
        with locked(files.lock):
            ended += postmaster.end(files)
    return ended


def remove(folder: Path) -> None:
    """Stop the server for ``folder``, and remove its data and all files created for it. For tests."""
    stop(folder)
    for files in possible_files(folder):
        shutil.rmtree(files.folder)
    if fallback_directory().is_dir() and not any(fallback_directory().glob("postgres-*")):
        shutil.rmtree(fallback_directory())


def _start(installation: Installation, *, durable: bool) -> Running:
    with locked(installation.files.lock) as lock:
        found = postmaster.wait_until_ready(installation.files.data)
        if found is not None:
            return _running(installation.files, found, installation.account.name, started=False)
        make_cluster(installation, lock, durable=durable)
        write_access_rules(installation.files, installation.account)
        write(installation.files.version, installation.binaries.version)
        return _running(installation.files, postmaster.start(installation, durable=durable), installation.account.name, started=True)


def _running(files: Files, found: Postmaster, account: str, *, started: bool) -> Running:
    return Running(files.folder, found.socket_folder, found.pid, files.version.read_text(), account, started)
