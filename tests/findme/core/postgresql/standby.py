"""Copies of an embedded server by ``pg_basebackup``, with real processes: a hot standby, and a server that was restored."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from findme.embedded.paths import Installation, find_installation
from findme.embedded.postmaster import LOG_WITHOUT_ROWS
from findme.embedded.server import Running
from tests.support.waiting import DEADLINE_SECONDS, wait_until


@contextmanager
def hot_standby(primary: Running, folder: Path) -> Iterator[str]:
    """Copy the running server ``primary`` to ``folder`` as a standby, and yield the URL of the copy."""
    base_backup(primary, folder, "-R", "-X", "stream")
    with copy_running(primary, folder, lambda url: is_in_recovery(url) is True) as url:
        yield url


def base_backup(primary: Running, folder: Path, *options: str) -> None:
    """Copy the running server ``primary`` to the new ``folder``."""
    installation = find_installation(primary.folder)
    folder.mkdir()
    installation.account.take_ownership(folder)
    source = ["-h", str(primary.socket_folder), "-p", str(primary.port), "-U", primary.user]
    program = str(installation.binaries.path("pg_basebackup"))
    command = [program, *source, "-D", str(folder / "data"), *options, "-c", "fast", "--no-sync"]
    subprocess.run(command, check=True, timeout=DEADLINE_SECONDS, **installation.account.popen_arguments())


@contextmanager
def copy_running(primary: Running, folder: Path, is_ready: Callable[[str], bool]) -> Iterator[str]:
    """Run the copy in ``folder``, and yield its URL as soon as ``is_ready`` says so. The primary need not run."""
    installation = find_installation(primary.folder)
    with tempfile.TemporaryDirectory(prefix="findme-standby-") as socket_folder:
        installation.account.take_ownership(Path(socket_folder))
        with subprocess.Popen(
            _command(installation, folder, socket_folder, primary.port),
            stderr=subprocess.DEVNULL,
            **installation.account.popen_arguments(),
        ) as server:
            try:
                url = f"postgresql://{primary.user}@/{primary.database}?host={socket_folder}&port={primary.port}"
                wait_until(lambda: is_ready(url))
                yield url
            finally:
                server.terminate()


def _command(installation: Installation, folder: Path, socket_folder: str, port: int) -> list[str]:
    settings = [f"unix_socket_directories={socket_folder}", "listen_addresses=", f"hba_file={installation.files.hba}", "fsync=off"]
    settings += [f"ident_file={installation.files.ident}", f"port={port}", "hot_standby=on", *LOG_WITHOUT_ROWS]
    words = (word for one in settings for word in ("-c", one))
    return [str(installation.binaries.path("postgres")), "-D", str(folder / "data"), *words]


def is_in_recovery(url: str) -> bool | None:
    """Return whether the server replays WAL, or None if it does not answer."""
    try:
        with psycopg.connect(url) as session:
            row = session.execute("SELECT pg_is_in_recovery()").fetchone()
    except psycopg.OperationalError:
        return None
    assert row is not None
    return bool(row[0])
