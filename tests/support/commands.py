"""Run commands at the test's database and vector store: in a process of their own, or in this one."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command, get_commands, load_command_class
from django.core.management.base import CommandParser
from django.db import connections

from findme.cli import main
from tests.support.database import database_parameters, url_of
from tests.support.processes import ended, start_python
from tests.support.untraced import untraced

PASSED_ON = (
    "QDRANT_URL",
    "QDRANT_API_KEY",
    "QDRANT_GRPC_PORT",
    "QDRANT_PATH",
    "QDRANT_COLLECTION",
    "QDRANT_TIMEOUT",
    "ERASURE_LEDGER_URL",
    "ERASURE_LEDGER_KEYS",
    "PRIVACY_SIGNING_KEY",
    "EXPORTS_DIR",
    "BACKUP_JOURNAL",
    "SYNC_LEASE_SECONDS",
    "SYNC_RECHECK_SECONDS",
)
"""Settings of the test that a process receives too."""


def environment() -> dict[str, str]:
    """Return the environment of a process that works with the test's stores."""
    passed_on = {name: str(getattr(settings, name)) for name in PASSED_ON}
    stores = passed_on | {"DATABASE_URL": url_of(database_parameters())}
    return untraced() | stores | {"DEBUG": "on", "DJANGO_SETTINGS_MODULE": "findme.settings"}


def started(*arguments: object, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
    """Start ``manage.py``."""
    return start_python(environment(), "manage.py", *arguments, stdin=stdin)


def manage(*arguments: object, stdin: str = "") -> tuple[int, str, str]:
    """Return the exit code, stdout, and stderr without lines of progress, of ``manage.py``."""
    return ended(started(*arguments, stdin=subprocess.PIPE), stdin)


def run_python(script: str, *arguments: object) -> tuple[int, str, str]:
    """Run a script with the project's settings. Return what ``manage`` returns."""
    return ended(start_python(environment(), "-c", f"import django\ndjango.setup()\n{script}", *arguments))


def manage_here(*arguments: object) -> tuple[int | str | None, str, str]:
    """Run ``manage.py`` in this process and in the test's transaction, which saves the start of a process."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patched, redirect_stdout(out), redirect_stderr(err):
        patched.setattr(connections, "close_all", lambda: None)
        code = main(["manage.py", *map(str, arguments)])
    return code, out.getvalue(), err.getvalue()


def exit_code(*arguments: str) -> int:
    """Run the command in this process, and return its exit code. An error is raised."""
    try:
        call_command(*arguments)
    except SystemExit as ended_with:
        return int(ended_with.code or 0)
    return 0


def stdout_of(command: str, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run the command in this process, and return its stdout. It must write nothing to stderr."""
    call_command(command, *arguments)
    written = capsys.readouterr()
    assert written.err == ""
    return written.out


def refused(*arguments: object, **options: Any) -> str:
    """Run the command in this process, and return its error: one line, with the exit code 2."""
    with pytest.raises(CommandError) as raised:
        call_command(*map(str, arguments), **options)
    assert raised.value.returncode == 2
    assert "\n" not in str(raised.value)
    return str(raised.value)


def outcome(*arguments: str) -> tuple[int, str]:
    """Run the command in this process. Return its exit code, and its error line if there is one."""
    try:
        return exit_code(*arguments), ""
    except CommandError as error:
        return error.returncode, str(error)


@contextmanager
def watching(*options: str) -> Iterator[subprocess.Popen[str]]:
    """Run ``sync_qdrant --watch`` during the block."""
    process = started("sync_qdrant", "--watch", *options)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def parser_of(command: str) -> CommandParser:
    """Return the parser of a command's arguments."""
    return load_command_class(get_commands()[command], command).create_parser("manage.py", command)
