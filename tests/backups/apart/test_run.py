"""A process in another database: it answers, fails, is ended, and ends with its caller."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper

from backups.apart.run import Apart, run_apart
from backups.postgresql.scratch import connection_to
from findme.core.errors import StoreUnavailable, UserFacingError
from tests.backups.apart import steps
from tests.support.database import Database
from tests.support.waiting import wait_until


@pytest.fixture
def scratch(empty: Database) -> Iterator[BaseDatabaseWrapper]:
    found = connection_to(connection, empty.name)
    yield found
    found.close()


def test_run_apart__another_database(scratch: BaseDatabaseWrapper) -> None:
    done: list[tuple[int, int | None]] = []
    found = run_apart(
        steps.where,
        scratch,
        {"word": "é'\n"},
        changed={"QDRANT_COLLECTION": "scratch"},
        report=lambda done_, total=None: done.append((done_, total)),
    )
    assert found == {"database": scratch.settings_dict["NAME"], "collection": "scratch", "word": "é'\n"}
    assert done == [(1, 2), (2, 2)]


def test_run_apart__logs_here(scratch: BaseDatabaseWrapper, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "findme.backups"):
        run_apart(steps.log, scratch, {})
    assert caplog.record_tuples == [("findme.backups", 20, "100 % done.")]


@pytest.mark.parametrize("kind", [UserFacingError, StoreUnavailable])
def test_run_apart__error(scratch: BaseDatabaseWrapper, kind: type[UserFacingError]) -> None:
    with pytest.raises(UserFacingError, match=r"^No such thing: 'x'\. Name another\.$") as raised:
        run_apart(steps.fail, scratch, {"kind": kind.__name__})
    assert type(raised.value) is kind


def test_run_apart__error_of_postgresql(scratch: BaseDatabaseWrapper) -> None:
    with pytest.raises(UserFacingError, match="no_such_table"):
        run_apart(steps.fail_in_postgresql, scratch, {})


def test_run_apart__defect(scratch: BaseDatabaseWrapper, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="exit code 1"):
        run_apart(steps.divide, scratch, {})
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_run_apart__killed(scratch: BaseDatabaseWrapper) -> None:
    with pytest.raises(UserFacingError, match="ended by signal 9"):
        run_apart(steps.kill_itself, scratch, {})


def test_apart__calls_one_after_the_other(scratch: BaseDatabaseWrapper) -> None:
    with Apart(scratch) as process:
        process.begin(steps.where, {"word": "first"})
        assert process.result()["word"] == "first"
        with pytest.raises(UserFacingError, match="No such thing"):
            process.call(steps.fail, {"kind": "UserFacingError"})
        assert process.call(steps.where, {"word": "after an error"})["word"] == "after an error"
        pid = process.call(steps.own_pid, {})["pid"]
    assert not _is_running(pid)


def test_run_apart__no_password_in_its_command(scratch: BaseDatabaseWrapper) -> None:
    scratch.settings_dict["PASSWORD"] = "a-secret-@:/%"
    found = run_apart(steps.own_command, scratch, {})
    assert "a-secret" not in found["command"]
    assert found["password"] == "a-secret-@:/%"


def test_run_apart__ends_with_its_caller(tmp_path: Path) -> None:
    """The caller is killed, and the process ends too, although it waits for nothing."""
    source = f"""
import os, subprocess, sys, time
from backups.apart import child
process = subprocess.Popen([sys.executable, "-m", child.__name__], stdin=subprocess.PIPE, text=True)
process.stdin.write('{{"module": "tests.backups.apart.steps", "function": "wait", "arguments": {{"path": {json.dumps(str(tmp_path / "pid"))}}}}}\\n')
process.stdin.flush()
while not os.path.exists({str(tmp_path / "pid")!r}):
    time.sleep(0.01)
os.kill(os.getpid(), 9)
"""
    caller = subprocess.run([sys.executable, "-c", source], env=os.environ | {"DJANGO_SETTINGS_MODULE": "findme.settings"}, check=False)
    assert caller.returncode == -signal.SIGKILL
    pid = int((tmp_path / "pid").read_text())
    wait_until(lambda: not _is_running(pid))


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
