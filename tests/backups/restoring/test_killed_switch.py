"""A switch that is killed anywhere: the next run makes it the old service or the restored one, as a whole."""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from backups.restoring.journal import open_journal
from backups.restoring.switch import recover
from tests.backups.restoring.stores import NEW, OLD, Qdrant, Service, connection_of, restored, scratch_name, served, start_restore
from tests.support.database import Database, database_parameters
from tests.support.processes import start_python
from tests.support.untraced import untraced

SERVER = Database("postgres")
EVERYDAY_CALLS = (17, 26, 35)
"""Calls at which a switch of the everyday suite is killed: before the renames, after them, and after the alias."""
MANY_CALLS = 100
"""More calls than a switch has."""
SEED = 20261201
SECONDS = 0.3
"""About how long a switch takes. A test does not fail on a slower machine, where more switches are killed early."""


class Switches:
    """Processes that switch."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def start(self, live: Database, journal: Path, qdrant: Qdrant, nth: int | None = None) -> int:
        """Start a switch, and return its process id. It kills itself at the ``nth`` call."""
        self._write([live.name, str(journal), str(qdrant.folder), nth])
        return self._read()

    def statuses(self, number: int = 1) -> list[int]:
        """Wait for the switches, and return their exit codes, -9 for a killed one."""
        self._write([])
        return [os.waitstatus_to_exitcode(self._read()) for _ in range(number)]

    def _write(self, arguments: list[object]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{json.dumps(arguments)}\n")
        self._process.stdin.flush()

    def _read(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


@pytest.fixture
def switches(live: Database) -> Iterator[Switches]:
    parameters = database_parameters()
    arguments = (parameters[name] for name in ("host", "port", "user"))
    with start_python(untraced(), "-m", "tests.backups.restoring.switching_process", *arguments, stdin=subprocess.PIPE) as process:
        try:
            yield Switches(process)
        finally:
            process.communicate()


def round_of(switches: Switches, folder: Path, nth: int | None = None, seconds: float = 0) -> str:
    """Switch, kill it, and let the next run recover. Return its sentence, or "" if the switch had ended."""
    folder.mkdir()
    store, path = Qdrant(folder / "qdrant"), folder / "restore.json"
    store.folder.mkdir()
    store.fill()
    with served() as live, restored(live, scratch_name(secrets.randbits(63))) as scratch:
        decrypted = folder / "findme-restore-0123456789abcdef"
        with open_journal(path) as journal:
            start_restore(journal, live, scratch.name)
            journal.note(folders=(str(decrypted),))
        decrypted.mkdir()
        pid = switches.start(live, path, store, nth)
        if nth is None:
            time.sleep(seconds)
            os.kill(pid, signal.SIGKILL)
        [code] = switches.statuses()
        assert code in (0, -signal.SIGKILL)
        with open_journal(path) as journal, closing(connection_of(live)) as session:
            sentence = recover(journal, session, store) or ""
        found = Service(live.query("SELECT text FROM served")[0], store.alias())
        assert found == (Service("old", OLD) if "was undone" in sentence else Service("restored", NEW))
        assert store.collections() == ([OLD] if found.text == "old" else [OLD, NEW])
        assert store.is_complete() == (found.text == "restored")
        assert SERVER.query("SELECT datname FROM pg_database WHERE datname = %s", scratch.name) == []
        assert SERVER.query("SELECT count(*) FROM pg_database WHERE datname LIKE %s", f"{live.name}_before_%") == [found.text == "restored"]
        assert not decrypted.exists()
        assert not path.exists()
        return sentence


def test_switch__killed__is_old_or_restored_as_a_whole(switches: Switches, tmp_path: Path) -> None:
    sentences = [round_of(switches, tmp_path / str(nth), nth) for nth in EVERYDAY_CALLS]
    assert [("was undone" in sentence, "was finished" in sentence) for sentence in sentences] == [
        (True, False),
        (False, True),
        (False, True),
    ]


@pytest.mark.at_length
@pytest.mark.long
def test_switch__killed_at_its_calls(switches: Switches, tmp_path: Path) -> None:
    """First it is undone, then finished, and in the end there is nothing left to do."""
    outcomes = []
    for nth in range(0, MANY_CALLS, 2):
        sentence = round_of(switches, tmp_path / str(nth), nth)
        outcomes.append("undone" if "was undone" in sentence else "finished" if "was finished" in sentence else "ended")
        if outcomes[-1] == "ended":
            break
    assert list(dict.fromkeys(outcomes)) == ["undone", "finished", "ended"]
    assert outcomes == sorted(outcomes, key=["undone", "finished", "ended"].index)


@pytest.mark.at_length
@pytest.mark.long
def test_switch__killed_at_random_moments(switches: Switches, tmp_path: Path) -> None:
    """Also while PostgreSQL runs a statement."""
    moments = random.Random(SEED)
    for number in range(int(os.environ.get("STORM_SEEDS", "15"))):
        round_of(switches, tmp_path / str(number), seconds=moments.uniform(0, SECONDS))


def test_switch__two_at_once__only_one_is_done(
    switches: Switches, tmp_path: Path, live: Database, scratch: Database, qdrant: Qdrant
) -> None:
    """On two machines: each has a journal of its own."""
    paths = [tmp_path / "one.json", tmp_path / "two.json"]
    with restored(live, scratch_name(secrets.randbits(63))) as other:
        for path, database, collection in zip(paths, (scratch, other), (NEW, "profiles_v3"), strict=True):
            (qdrant.folder / collection).touch()
            with open_journal(path) as journal:
                start_restore(journal, live, database.name)
                journal.note(new_collection=collection)
        for path in paths:
            switches.start(live, path, qdrant)
        assert sorted(switches.statuses(2)) == [0, 1]
        assert not any(path.exists() for path in paths)
        assert live.query("SELECT text FROM served") == ["restored"]
        assert SERVER.query("SELECT datname FROM pg_database WHERE datname IN (%s, %s)", scratch.name, other.name) == []
        assert qdrant.collections() in ([OLD, NEW], [OLD, "profiles_v3"])
        assert qdrant.alias() == qdrant.collections()[1]
