"""``manage.py`` in processes of their own, at the test's database and vector store."""

from __future__ import annotations

import subprocess
import sys
from urllib.parse import quote, urlencode

from django.conf import settings
from django.core.management import call_command
from django.db import connection

from findme.environment import BASE_DIR
from tests.progress_lines import without_progress
from tests.untraced import untraced

SECONDS = 120


def environment() -> dict[str, str]:
    parameters = connection.get_connection_params()
    query = {name: str(parameters[name]) for name in ("host", "port", "user", "password") if parameters.get(name)}
    url = f"postgresql:///{quote(str(parameters['dbname']))}?{urlencode(query)}"
    names = ["QDRANT_URL", "QDRANT_API_KEY", "QDRANT_GRPC_PORT", "QDRANT_PATH", "QDRANT_COLLECTION", "QDRANT_TIMEOUT"]
    names += ["SYNC_LEASE_SECONDS", "SYNC_RECHECK_SECONDS"]
    qdrant = {name: str(getattr(settings, name)) for name in names}
    return untraced() | qdrant | {"DATABASE_URL": url, "DEBUG": "on", "DJANGO_SETTINGS_MODULE": "findme.settings"}


def started(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "manage.py", *map(str, arguments)],
        cwd=BASE_DIR,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Return its exit code, stdout, and stderr without lines of progress."""
    with process:
        stdout, stderr = process.communicate(timeout=SECONDS)
    return process.returncode, stdout, without_progress(stderr)


def manage(*arguments: object) -> tuple[int, str, str]:
    return ended(started(*arguments))


def run_python(script: str, *arguments: object) -> tuple[int, str, str]:
    """A script with the project's settings, ended."""
    ran = subprocess.run(
        [sys.executable, "-c", f"import django\ndjango.setup()\n{script}", *map(str, arguments)],
        cwd=BASE_DIR,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    return ran.returncode, ran.stdout, without_progress(ran.stderr)


def exit_code(*arguments: str) -> int:
    """Run the command in this process, and return its exit code. An error is raised."""
    try:
        call_command(*arguments)
    except SystemExit as ended_with:
        return int(ended_with.code or 0)
    return 0
