"""Real servers for the tests of ``findme.embedded``: in separate folders, started by real processes, as root and as an ordinary user."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path
from typing import Any

from findme.core.postgresql.programs import Binaries, installed_binaries
from findme.embedded.binaries import copy_binaries
from findme.environment import BASE_DIR
from tests.support.processes import ended

AS_USER = """
import os, sys
from pathlib import Path
from findme.core.errors import UserFacingError
from findme.embedded import __main__
from findme.embedded import paths
from findme.core.postgresql import programs
from findme.embedded import server
user, group, home, *arguments = sys.argv[1:]
found = programs.Binaries(Path(home), programs.installed_binaries().version)
paths.installed_binaries = lambda: found
if os.geteuid() != int(user):
    os.setgroups([])
    os.setgid(int(group))
    os.setuid(int(user))
"""
"""Switches to the account after all imports: the interpreter may be in a folder that only root can enter."""

ENSURE = """
try:
    print(getattr(server.ensure_running(Path(arguments[0]), durable=False), arguments[1]))
except UserFacingError as error:
    sys.exit(str(error))
"""
CONNECT = "os.execv(found.path('psql'), ['psql', '-X', '-At', '-c', 'SELECT current_user', arguments[0]])"
COMMAND = """
__main__.read_dotenv = lambda: None  # it is in the checkout, which the account may be unable to enter
sys.exit(__main__.main(arguments))
"""


class Stage:
    """A folder that every account can reach, with programs that every account can run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._binaries: Binaries | None = None

    def start(self, code: str, *arguments: str, user: str, settings: dict[str, str] | None = None, **options: Any) -> subprocess.Popen[str]:
        """Run ``code`` as ``user`` (``""``: the account that runs the tests), with ``settings`` in its environment."""
        entry = pwd.getpwnam(user) if user else pwd.getpwuid(os.geteuid())
        command = [
            sys.executable,
            "-c",
            AS_USER + code,
            str(entry.pw_uid),
            str(entry.pw_gid),
            str(self.binaries.home),
            *arguments,
        ]
        return subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd="/",
            env=environment(HOME="/nonexistent", **(settings or {})),
            **options,
        )

    @property
    def binaries(self) -> Binaries:
        """Return the package's binaries, or for root a copy: root's server runs as another account, which may be unable to enter the checkout."""
        if self._binaries is None:
            self._binaries = copy_binaries(installed_binaries(), self.folder) if os.geteuid() == 0 else installed_binaries()
        return self._binaries

    def start_ensuring(self, folder: Path, user: str = "", wanted: str = "pid", **options: Any) -> subprocess.Popen[str]:
        """Start a process that ensures that the server of ``folder`` runs, and prints its attribute ``wanted``."""
        return self.start(ENSURE, str(folder), wanted, user=user, **options)

    def ensure(self, folder: Path, user: str = "", wanted: str = "pid") -> str:
        return output_of(self.start_ensuring(folder, user, wanted))


def environment(**settings: str) -> dict[str, str]:
    """Return this environment with ``settings``, and without variables that lead to another server."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "COV", "DATABASE_", "EMBEDDED_"))}
    return kept | {"PYTHONPATH": str(BASE_DIR), "PYTHONDONTWRITEBYTECODE": "1"} | settings


def output_of(process: subprocess.Popen[str]) -> str:
    """Return what the process printed. Raise AssertionError with its stderr if it failed."""
    code, out, err = ended(process)
    assert code == 0, err
    return out.strip()
