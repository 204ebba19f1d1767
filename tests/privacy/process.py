"""A process that pauses in the middle of a removal."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

from tests.support.commands import environment
from tests.support.processes import start_python

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


@contextmanager
def stopped_before_the_commit(remove: Callable[[UUID], object], user_id: UUID) -> Iterator[subprocess.Popen[str]]:
    """Start a process that removes the user with ``remove``, and stops after the deletion of the point, before the commit."""
    child = start_python(environment(), "-c", PAUSING, remove.__module__, remove.__name__, user_id, stdin=subprocess.PIPE)
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == "removed\n"
        yield child
    finally:
        child.kill()
        child.communicate()
