"""Python in a process of its own, as a user starts FindMe, with only the settings that the test gives."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

from findme.environment import BASE_DIR, REQUIRED_IN_PRODUCTION
from tests.support.forked_python import ForkedPython, can_fork
from tests.support.progress_lines import without_progress
from tests.support.waiting import DEADLINE_SECONDS

PRODUCTION = {
    "DEBUG": "off",
    "DATABASE_URL": "postgresql:///findme?host=/nonexistent",
    "SECRET_KEY": "a-key-of-more-than-fifty-characters-that-are-never-used-0123456789",
    "ALLOWED_HOSTS": "findme.example",
}


def environment_of(**settings: str) -> dict[str, str]:
    """Return an environment in which every other setting is empty.

    So no setting comes from a developer's ``.env``, and no command reaches a developer's database.
    """
    kept = {name: value for name, value in os.environ.items() if name == "PATH" or name.startswith("COVERAGE_")}
    unset = dict.fromkeys((*REQUIRED_IN_PRODUCTION, "DEBUG", "QDRANT_URL", "QDRANT_API_KEY", "LOG_LEVEL", "LOG_FORMAT"), "") | {
        "EMBEDDED_POSTGRES_DIR": "/nonexistent/pg"
    }
    return kept | {"PYTHONDONTWRITEBYTECODE": "1", "LANG": "C.UTF-8"} | unset | settings


def start_python(
    environment: Mapping[str, str], *arguments: object, stdin: int = subprocess.DEVNULL, fork: bool = True
) -> subprocess.Popen[str]:
    """Start ``python ARGUMENTS`` in the checkout: a program, ``-m`` or ``-c``, after options ``-W``.

    Without ``fork`` it is a new interpreter, which has imported nothing and can have all options.
    """
    popen = ForkedPython if fork and can_fork(environment) else subprocess.Popen[str]
    return popen(
        [sys.executable, *map(str, arguments)],
        cwd=BASE_DIR,
        env=environment,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str], stdin: str | None = None) -> tuple[int, str, str]:
    """Wait for the process. Return its exit code, stdout, and stderr without lines of progress."""
    with process:
        try:
            out, err = process.communicate(stdin, timeout=DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return process.returncode, out, without_progress(err)


def run_program(environment: Mapping[str, str], *arguments: object, seconds: float = DEADLINE_SECONDS) -> subprocess.CompletedProcess[str]:
    """Run ``python ARGUMENTS`` in the checkout to its end, as ``subprocess.run`` does."""
    with start_python(environment, *arguments) as process:
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def start(*arguments: str, **settings: str) -> subprocess.Popen[str]:
    """Start ``python ARGUMENTS`` with only these settings. Only ``manage.py`` with the usual modules can be a fork."""
    return start_python(environment_of(**settings), *arguments, fork=arguments[0] == "manage.py" and "PYTHONPATH" not in settings)


def python(*arguments: str, **settings: str) -> tuple[int, str, str]:
    """Return the exit code, stdout, and stderr without lines of progress."""
    return ended(start(*arguments, **settings))


def manage(*arguments: str, **settings: str) -> tuple[int, str, str]:
    return python("manage.py", *arguments, **settings)
