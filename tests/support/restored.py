"""Restore PostgreSQL to an older copy while other processes are connected."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.db import connection
from psycopg import sql

from findme.core.postgresql.programs import installed_binaries


@contextmanager
def restorable_postgres(*, dumped: bool = False) -> Iterator[Callable[[], None]]:
    """Copy the test's database. Return a function that replaces the database with the copy and ends its sessions.

    With ``dumped`` the copy is made by ``pg_dump`` and ``pg_restore``.
    """
    name = str(connection.settings_dict["NAME"])
    copy, newer = f"{name}_copy", f"{name}_newer"
    connection.close()
    for left in (copy, newer):
        administer("DROP DATABASE IF EXISTS {}", left)
    if dumped:
        administer("CREATE DATABASE {} TEMPLATE template0", copy)
        _dump_and_restore(name, copy)
    else:
        administer("CREATE DATABASE {} TEMPLATE {}", copy, name)

    def replace(out: str, aside: str, back: str) -> None:
        connection.close()
        administer("ALTER DATABASE {} ALLOW_CONNECTIONS false", out)
        administer("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = " + sql.quote(out))
        administer("ALTER DATABASE {} RENAME TO {}", out, aside)
        administer("ALTER DATABASE {} RENAME TO {}", back, out)

    restored = False

    def restore() -> None:
        nonlocal restored
        replace(name, newer, copy)
        restored = True

    try:
        yield restore
    finally:
        if restored:
            replace(name, copy, newer)
            administer("ALTER DATABASE {} ALLOW_CONNECTIONS true", name)
        administer("DROP DATABASE {} WITH (FORCE)", copy)


def administer(statement: str, *names: str) -> None:
    with connection._nodb_cursor() as cursor:
        cursor.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def _dump_and_restore(name: str, copy: str) -> None:
    parameters = connection.get_connection_params()
    server = [
        f"--{option}={parameters[key]}" for option, key in (("host", "host"), ("port", "port"), ("username", "user")) if parameters.get(key)
    ]
    environment = os.environ | {"PGPASSWORD": str(parameters.get("password") or "")}
    dump, restore = (str(installed_binaries().path(program)) for program in ("pg_dump", "pg_restore"))
    written = subprocess.run([dump, *server, "--format=custom", name], env=environment, check=True, capture_output=True).stdout
    # Against a server older than the programs, pg_restore reports a setting that the server does not have, and restores everything.
    subprocess.run([restore, *server, "--dbname", copy], env=environment, input=written, check=False, capture_output=True)
