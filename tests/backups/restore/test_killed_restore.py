"""SIGKILL at a random moment of a restore: the service is the one before or the restored one, whole, and the next run leaves nothing."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest
from django.db import connection

from backups.restoring.journal import open_journal
from backups.restoring.restore import continue_interrupted
from tests.backups.restore.world import World, is_restored, nothing_left
from tests.support.commands import environment
from tests.support.database import Database
from tests.support.processes import start_python
from tests.support.seeds import kill_seeds
from tests.support.waiting import DEADLINE_SECONDS

STEPS = 120
"""At least as many as a restore of both stores has calls of the functions below."""

SCRIPT = """
import sys

import django

django.setup()

from backups.apart import run
from backups.restoring import maintenance, restore, sources, switch
from backups.restoring.journal import Journal
from tests.backups.restore.world import request, source_of
from tests.support.killing import kill_at_call

functions = [(Journal, "_write"), (Journal, "end"), (sources, "fill"), (restore, "switch"), (run.Apart, "begin"), (run.Apart, "result"), (run.json, "loads")]
functions += [(module, name) for module in (maintenance, switch) for name in ("rows", "execute", "exchange", "find") if hasattr(module, name)]
kill_at_call(functions, int(sys.argv[3]))
restore.restore_source(source_of(sys.argv[1], sys.argv[2]), request())
"""


@pytest.mark.parametrize("seed", kill_seeds(1, 4))
def test_restore__killed(world: World, served: Database, restore_journal: Path, seed: int) -> None:
    nth = random.Random(seed).randrange(STEPS)
    connection.close()
    process = start_python(environment(), "-c", SCRIPT, world.place, world.backup.name, nth)
    _, err = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode in (-signal.SIGKILL, 0), err
    with open_journal() as journal:
        continue_interrupted(journal, connection)
        assert journal.entry is None
    if process.returncode == 0:
        assert is_restored(world)
    else:
        is_restored(world)  # either, but whole
    nothing_left(served, restore_journal)
