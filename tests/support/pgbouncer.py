"""A real PgBouncer in front of a server that trusts its clients."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import psycopg

from findme.embedded.account import account_for
from tests.support.database import database_parameters
from tests.support.waiting import wait_until

PROGRAM = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin")
PORT = 6432
"""Of the socket in the pooler's own folder."""


@contextmanager
def pgbouncer(pool_mode: str, *, pool_size: int = 3, aliases: Mapping[str, str] = MappingProxyType({})) -> Iterator[str]:
    """Start PgBouncer in front of Django's server, without network access. Yield the folder of its socket.

    ``aliases`` are names for clients, each with the name of the database.
    """
    assert PROGRAM is not None
    server = database_parameters()
    with tempfile.TemporaryDirectory(prefix="findme-pooler-") as name:
        folder = Path(name)
        account = account_for(folder / "none")
        account.take_ownership(folder)
        (folder / "users.txt").write_text(f'"{server["user"]}" ""\n')
        target = f"host={server['host']} port={server['port']}"
        named = "".join(f"{name} = {target} dbname={found}\n" for name, found in aliases.items())
        (folder / "pgbouncer.ini").write_text(
            f"[databases]\n{named}* = {target}\n[pgbouncer]\nlisten_addr=\nunix_socket_dir={folder}\nlisten_port={PORT}\n"
            f"auth_type=trust\nauth_file={folder}/users.txt\npool_mode={pool_mode}\ndefault_pool_size={pool_size}\n"
        )
        folder.chmod(0o755)
        command = [PROGRAM, "-q", str(folder / "pgbouncer.ini")]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, **account.popen_arguments()) as process:
            try:
                wait_until(lambda: _answers(str(folder), server))
                yield str(folder)
            finally:
                process.kill()


def _answers(folder: str, server: dict[str, str]) -> bool:
    try:
        with psycopg.connect(host=folder, port=PORT, user=server["user"], dbname="postgres"):
            return True
    except psycopg.OperationalError:
        return False
