"""A hot standby of an embedded server, with real processes."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from findme.embedded.paths import find_installation
from findme.embedded.postmaster import LOG_WITHOUT_ROWS
from findme.embedded.server import Running
from tests.support.waiting import DEADLINE_SECONDS, wait_until


@contextmanager
def hot_standby(primary: Running, folder: Path) -> Iterator[str]:
    """Copy the running server ``primary`` to ``folder`` as a standby, and yield the URL of the copy."""
    installation = find_installation(primary.folder)
    as_account = installation.account.popen_arguments()
    folder.mkdir()
    installation.account.take_ownership(folder)
    source = ["-h", str(primary.socket_folder), "-p", str(primary.port), "-U", primary.user]
    copy = [
        str(installation.binaries.path("pg_basebackup")),
        *source,
        "-D",
        str(folder / "data"),
        "-R",
        "-X",
        "stream",
        "-c",
        "fast",
        "--no-sync",
    ]
    subprocess.run(copy, check=True, timeout=DEADLINE_SECONDS, **as_account)
    with tempfile.TemporaryDirectory(prefix="findme-standby-") as socket_folder:
        installation.account.take_ownership(Path(socket_folder))
        settings = [f"unix_socket_directories={socket_folder}", "listen_addresses=", f"hba_file={installation.files.hba}", "fsync=off"]
        settings += [f"ident_file={installation.files.ident}", f"port={primary.port}", "hot_standby=on", *LOG_WITHOUT_ROWS]
        command = [
            str(installation.binaries.path("postgres")),
            "-D",
            str(folder / "data"),
            *(word for one in settings for word in ("-c", one)),
        ]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL, **as_account) as server:
            try:
                url = f"postgresql://{primary.user}@/{primary.database}?host={socket_folder}&port={primary.port}"
                wait_until(lambda: _answers(url))
                yield url
            finally:
                server.terminate()


def _answers(url: str) -> bool:
    try:
        with psycopg.connect(url) as session:
            row = session.execute("SELECT pg_is_in_recovery()").fetchone()
    except psycopg.OperationalError:
        return False
    return row == (True,)
