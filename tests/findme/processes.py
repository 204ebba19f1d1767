"""FindMe's programs as a person starts them: in processes of their own, with nothing set but what the test says."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout

import pytest
from django.db import connections

from findme.cli import main
from findme.environment import BASE_DIR, REQUIRED_IN_PRODUCTION
from tests.progress_lines import without_progress
from tests.support.waiting import DEADLINE_SECONDS

PRODUCTION = {
    "DEBUG": "off",
    "DATABASE_URL": "postgresql:///findme?host=/nonexistent",
    "SECRET_KEY": "a-key-of-more-than-fifty-characters-that-are-never-used-0123456789",
    "ALLOWED_HOSTS": "findme.example",
}


def environment_of(**settings: str) -> dict[str, str]:
    """What is not among SETTINGS is empty, and so not taken from a developer's ``.env``; no command comes to their database by mistake."""
    kept = {name: value for name, value in os.environ.items() if name == "PATH" or name.startswith("COVERAGE_")}
    unset = dict.fromkeys((*REQUIRED_IN_PRODUCTION, "DEBUG", "QDRANT_URL", "QDRANT_API_KEY", "LOG_LEVEL", "LOG_FORMAT"), "") | {
        "EMBEDDED_POSTGRES_DIR": "/nonexistent/pg"
    }
    return kept | {"PYTHONDONTWRITEBYTECODE": "1", "LANG": "C.UTF-8"} | unset | settings


def start(*arguments: str, **settings: str) -> subprocess.Popen[str]:
    """``python ARGUMENTS`` in the checkout, with nothing set but SETTINGS."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=BASE_DIR,
        env=environment_of(**settings),
    )


def python(*arguments: str, **settings: str) -> tuple[int, str, str]:
    """Return the exit code, stdout, and stderr without lines of progress."""
    with start(*arguments, **settings) as process:
        out, err = process.communicate(timeout=DEADLINE_SECONDS)
        return process.returncode, out, without_progress(err)


def manage(*arguments: str, **settings: str) -> tuple[int, str, str]:
    return python("manage.py", *arguments, **settings)


def manage_here(*arguments: object) -> tuple[int | str | None, str, str]:
    """As ``manage``, in this process and in the test's transaction: where a process of its own adds nothing but the seconds that it takes."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patched, redirect_stdout(out), redirect_stderr(err):
        patched.setattr(connections, "close_all", lambda: None)
        code = main(["manage.py", *map(str, arguments)])
    return code, out.getvalue(), err.getvalue()
