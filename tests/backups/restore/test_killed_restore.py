"""SIGKILL at a random moment of a restore: the service is the one before or the restored one, whole, and the next run leaves nothing."""

from __future__ import annotations

import random
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from backups.postgresql.scratch import _prefix, drop_abandoned_databases
from backups.restoring.journal import open_journal
from backups.restoring.restore import continue_interrupted
from tests.backups.restore.world import World, is_restored, make_world, nothing_left
from tests.privacy.ledger.s3 import s3_bucket
from tests.support.commands import environment
from tests.support.database import Database
from tests.support.processes import start_python
from tests.support.seeds import kill_seeds
from tests.support.waiting import DEADLINE_SECONDS, wait_until

NEVER = 10**6
SECONDS = 5.0
"""About the time of a restore, without the start of its process."""
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


def _cases() -> Iterator[Any]:
    for kind, quick, at_length in (("folder", 1, 2), ("s3", 0, 1)):
        for seed in kill_seeds(quick, at_length):
            yield pytest.param(kind, *getattr(seed, "values", [seed]), marks=getattr(seed, "marks", ()))


CASES = list(_cases())


@pytest.fixture
def killed_world(kind: str, store: str, served: Database, place: Path) -> Iterator[World]:
    """Both stores, with a backup in a folder or in S3."""
    if kind == "folder":
        yield make_world(place)
    else:
        with s3_bucket() as url:
            yield make_world(f"{url}/backups")


@pytest.mark.parametrize(("kind", "seed"), CASES)
def test_restore__killed_at_a_call(killed_world: World, served: Database, restore_journal: Path, seed: int) -> None:
    nth = random.Random(seed).randrange(STEPS)
    connection.close()
    process = start_python(environment(), "-c", SCRIPT, killed_world.place, killed_world.backup.name, nth)
    require_whole(killed_world, served, restore_journal, process)


@pytest.mark.parametrize(("kind", "seed"), CASES)
def test_restore__killed_at_a_moment(killed_world: World, served: Database, restore_journal: Path, seed: int) -> None:
    """Also in the middle of the upload of a snapshot."""
    connection.close()
    process = start_python(environment(), "-c", SCRIPT, killed_world.place, killed_world.backup.name, NEVER)
    wait_until(lambda: restore_journal.exists() or process.poll() is not None)
    try:
        process.wait(random.Random(seed).uniform(0, SECONDS))
    except subprocess.TimeoutExpired:
        process.kill()
    require_whole(killed_world, served, restore_journal, process)


def require_whole(world: World, served: Database, journal_file: Path, process: subprocess.Popen[str]) -> None:
    """Assert that the service is the one before or the restored one, and that the next run leaves nothing of the killed process."""
    _, err = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode in (-signal.SIGKILL, 0), err
    with open_journal() as journal:
        continue_interrupted(journal, connection)
        assert journal.entry is None
    if process.returncode == 0:
        assert is_restored(world)
    else:
        is_restored(world)  # either, but whole
    with closing(connection.copy()) as session:
        prefix = _prefix(session, served.name)

    def is_clean() -> bool:
        """Do what the next restore does first. PostgreSQL ends the sessions of the killed process, and so their locks, a moment later."""
        with closing(connection.copy()) as session:
            drop_abandoned_databases(session, of=served.name)
        with Database("postgres").connect() as session:
            (count,) = session.execute("SELECT count(*) FROM pg_database WHERE datname LIKE %s", [f"{prefix}%"]).fetchone() or (None,)
        return count == 0

    wait_until(is_clean)
    nothing_left(served, journal_file)
