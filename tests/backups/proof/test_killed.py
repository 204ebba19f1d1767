"""A deep verification that is killed at any moment: the next run drops what it has left."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from backups.create import create_backup
from backups.destinations.destination import Destination
from backups.manifest import Manifest
from backups.models import BackupVerification
from backups.proof.deep import drop_leftovers
from backups.proof.runs import KILLED
from tests.backups.making import request
from tests.backups.proof.conftest import live_state, scratch_collections
from tests.support.commands import environment
from tests.support.processes import start_python
from tests.support.seeds import kill_seeds
from tests.support.waiting import DEADLINE_SECONDS, wait_until
from vectorstore.qdrant.connection import is_embedded

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.no_cover, pytest.mark.long]

MOMENTS = 14
# The moments are calls and not times, so that a slow machine is killed at the same ones. "reported" is progress of the process in the scratch database.
SCRIPT = """
import sys, tempfile
import django
django.setup()
place, name, tempfile.tempdir, nth = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
from backups.destinations.opening import open_destination
from backups.postgresql import scratch
from backups.proof import deep
from backups.proof.runs import Run
from backups.qdrant import Servers
from privacy.ledger.signing import verifying_keys
from tests.support.killing import kill_at_call

class Moments:
    def reported(self):
        pass

moments, run_apart, create = Moments(), deep.run_apart, scratch._create

def apart(*arguments, report, **options):
    def reported(*numbers):
        moments.reported()
        report(*numbers)
    return run_apart(*arguments, report=reported, **options)

def printed(session, database, description):
    print(database, flush=True)
    create(session, database, description)

deep.run_apart, scratch._create = apart, printed
kill_at_call(
    [
        (deep, "verify_backup"), (scratch, "_create"), (scratch, "_comment"), (deep, "require_scratch"), (deep, "restore_dump"),
        (deep, "require_equal_digests"), (deep, "run_apart"), (moments, "reported"), (deep, "delete_collections_of"), (deep, "validate_constraints"),
        (deep, "check_pages"), (scratch, "_drop"), (Run, "end"),
    ],
    nth,
)
deep.verify_deep(open_destination(place), name, verifying_keys(), (), Servers((), 60))
"""


def moment(seed: int) -> int:
    """Return a number of a call. Consecutive seeds reach all of them, and the first one is in the middle."""
    return (7 + 5 * seed) % MOMENTS


def killed(place: Path, made: Manifest, folder: Path, nth: int) -> list[str]:
    """Verify the backup deeply in a process that is killed at a call. Return the names of its scratch databases."""
    with start_python(environment(), "-c", SCRIPT, place, made.name, folder, nth) as process:
        out, err = process.communicate(timeout=DEADLINE_SECONDS)
    # With fewer calls than moments the process ends by itself.
    assert process.returncode in (0, -signal.SIGKILL), err
    return out.split()


def exist(databases: list[str]) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM pg_database WHERE datname = ANY(%s))", [databases])
        return bool(cursor.fetchone()[0])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files, here and in the process."""
    path = tmp_path / "temporary"
    path.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(path))
    return path


def require_cleaned_up(databases: list[str], folder: Path) -> None:
    """Wait until a next run has dropped everything. PostgreSQL ends the sessions of the killed process a moment later."""

    def is_clean() -> bool:
        drop_leftovers(())
        return not exist(databases) and list(folder.iterdir()) == [] and (is_embedded() or scratch_collections() == [])

    wait_until(is_clean)
    assert {row.error for row in BackupVerification.objects.all()} <= {KILLED, ""}
    assert not BackupVerification.objects.filter(finished_at=None).exists()


@pytest.mark.parametrize("seed", kill_seeds(1, 4))
def test_verify_deep__killed__leaves_nothing_after_the_next_run(made: Manifest, place: Path, folder: Path, seed: int) -> None:
    require_cleaned_up(killed(place, made, folder, moment(seed)), folder)


@pytest.mark.qdrant_server
@pytest.mark.parametrize("seed", kill_seeds(1, 4))
def test_verify_deep__with_a_server__killed__leaves_nothing_after_the_next_run(
    users: list[Any], place: Path, destination: Destination, folder: Path, seed: int
) -> None:
    made, before = create_backup(destination, request()), live_state()
    require_cleaned_up(killed(place, made, folder, moment(seed)), folder)
    assert live_state() == before
