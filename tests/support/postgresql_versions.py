"""Servers of the PostgreSQL versions that Debian's packages have installed, for what must work on every supported version."""

from __future__ import annotations

import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.db import DEFAULT_DB_ALIAS, connection, connections

from findme.embedded.account import account_for
from tests.support.memory import roomy_folder
from tests.support.waiting import DEADLINE_SECONDS

DEBIAN = Path("/usr/lib/postgresql")
SUPPORTED = range(15, 19)


def installed_versions() -> list[int]:
    """Return the supported major versions in the folder of Debian's packages."""
    found = (int(path.parent.parent.name) for path in DEBIAN.glob("*/bin/pg_ctl") if re.fullmatch(r"\d+", path.parent.parent.name))
    return sorted(version for version in found if version in SUPPORTED)


@contextmanager
def server_of_version(version: int, **settings: object) -> Iterator[None]:
    """Start a server without network access in a temporary folder, with these settings, and connect Django to it in the block."""
    folder = Path(tempfile.mkdtemp(prefix=f"findme-test-pg{version}-", dir=roomy_folder()))
    folder.chmod(0o755)
    data, account = folder / "data", account_for(folder / "data")
    try:
        data.mkdir(mode=0o700)
        account.take_ownership(data)
        arguments = account.popen_arguments() | {"stdin": subprocess.DEVNULL}

        def run(program: str, *options: str) -> None:
            command = [str(DEBIAN / str(version) / "bin" / program), "-D", str(data), *options]
            subprocess.run(command, check=True, capture_output=True, timeout=DEADLINE_SECONDS, **arguments)

        run("initdb", "--username=findme", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")
        port = str(secrets.randbelow(20_000) + 40_000)
        options = f"-c listen_addresses='' -c unix_socket_directories={data} -c fsync=off -p {port}"
        options += "".join(f" -c {name}={value}" for name, value in settings.items())
        run("pg_ctl", "start", "--wait", "--log", str(data / "log"), "-o", options)
        try:
            with _django_connected_to(str(data), port):
                with connection.cursor() as cursor:
                    cursor.execute("SELECT current_setting('server_version_num')::int / 10000")
                    assert cursor.fetchone() == (version,)
                yield
        finally:
            run("pg_ctl", "stop", "--wait", "--mode=immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _django_connected_to(host: str, port: str) -> Iterator[None]:
    """Use the server for Django's connection and for the tests' databases, instead of the embedded one."""
    connection.close()
    before = dict(connection.settings_dict)
    with pytest.MonkeyPatch.context() as patch:
        # The backend without DATABASE_URL would connect to the embedded server.
        patch.setattr(type(connections[DEFAULT_DB_ALIAS]), "ensure_server", lambda _: None, raising=False)
        connection.settings_dict.update(HOST=host, PORT=port, USER="findme", PASSWORD="", NAME="postgres")
        try:
            yield
        finally:
            connection.close()
            connection.settings_dict.update(before)
