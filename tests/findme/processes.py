"""FindMe's programs as a person starts them: in processes of their own, with nothing set but what the test says."""

from __future__ import annotations

import os
import subprocess
import sys

from findme.environment import BASE_DIR, REQUIRED_IN_PRODUCTION

DEADLINE_SECONDS = 120.0
PRODUCTION = {
    "DEBUG": "off",
    "DATABASE_URL": "postgresql:///findme?host=/nonexistent",
    "SECRET_KEY": "a-key-of-more-than-fifty-characters-that-are-never-used-0123456789",
    "ALLOWED_HOSTS": "findme.example",
}


def python(*arguments: str, **settings: str) -> tuple[int, str, str]:
    """Exit code, output and errors of ``python ARGUMENTS`` in the checkout. What is not among SETTINGS is empty, and so not taken from a
    developer's ``.env``; no command comes to their database by mistake."""
    environment = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", "LANG": "C.UTF-8"}
    unset = dict.fromkeys((*REQUIRED_IN_PRODUCTION, "DEBUG", "QDRANT_URL", "QDRANT_API_KEY", "LOG_LEVEL"), "") | {
        "EMBEDDED_POSTGRES_DIR": "/nonexistent/pg"
    }
    done = subprocess.run(
        [sys.executable, *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=BASE_DIR,
        stdin=subprocess.DEVNULL,
        timeout=DEADLINE_SECONDS,
        env=environment | unset | settings,
    )
    return done.returncode, done.stdout, done.stderr


def manage(*arguments: str, **settings: str) -> tuple[int, str, str]:
    return python("manage.py", *arguments, **settings)
