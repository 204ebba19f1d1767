"""Processes of their own at the test's database and vector store."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import quote, urlencode
from uuid import UUID

from django.conf import settings
from django.db import connection

from findme.environment import BASE_DIR
from tests.progress_lines import without_progress
from tests.support.waiting import DEADLINE_SECONDS
from tests.untraced import untraced

PAUSING = """
import sys
import django
django.setup()
from importlib import import_module
from uuid import UUID
from privacy.registry import registry

(store,) = registry.stores
remove = store.remove

def remove_and_wait(user_id):
    removed = remove(user_id)
    print("removed", flush=True)
    sys.stdin.readline()
    return removed

store.remove = remove_and_wait
module, name, user_id = sys.argv[1:]
getattr(import_module(module), name)(UUID(user_id))
print("committed", flush=True)
"""
"""Run the given action, and wait for a line after the stores have deleted and before the commit."""


def database_parameters() -> dict[str, str]:
    """``dbname``, ``host``, ``port``, ``user``, ``password`` of the test's database, as far as they are set."""
    parameters = connection.get_connection_params()
    return {name: str(parameters[name]) for name in ("dbname", "host", "port", "user", "password") if parameters.get(name)}


def environment() -> dict[str, str]:
    parameters = database_parameters()
    url = f"postgresql:///{quote(parameters.pop('dbname'))}?{urlencode(parameters)}"
    qdrant = {name: str(getattr(settings, name)) for name in ("QDRANT_URL", "QDRANT_API_KEY", "QDRANT_PATH", "QDRANT_COLLECTION")}
    return untraced() | qdrant | {"DATABASE_URL": url, "DEBUG": "on", "DJANGO_SETTINGS_MODULE": "findme.settings"}


def manage(*arguments: object, stdin: str = "") -> tuple[int, str, str]:
    """Return the exit code, stdout, and stderr without lines of progress, of ``manage.py``."""
    ran = subprocess.run(
        [sys.executable, "manage.py", *map(str, arguments)],
        cwd=BASE_DIR,
        env=environment(),
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_SECONDS,
    )
    return ran.returncode, ran.stdout, without_progress(ran.stderr)


@contextmanager
def stopped_before_the_commit(remove: Callable[[UUID], object], user_id: UUID) -> Iterator[subprocess.Popen[str]]:
    """A process that has begun to REMOVE the person, as far as their point, and has not committed."""
    child = subprocess.Popen(
        [sys.executable, "-c", PAUSING, remove.__module__, remove.__name__, str(user_id)],
        cwd=BASE_DIR,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == "removed\n"
        yield child
    finally:
        child.kill()
        child.communicate()
