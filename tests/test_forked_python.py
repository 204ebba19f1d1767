"""A forked Python (``tests.support.forked_python``) is for a test what a new interpreter is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from findme.environment import BASE_DIR
from tests.support.forked_python import ForkedPython, can_fork
from tests.support.processes import start_python
from tests.support.untraced import untraced
from tests.support.waiting import DEADLINE_SECONDS

OURS = ("findme", "accounts", "videos", "matching", "calls", "vectorstore", "privacy", "backups", "tests")
DESCRIBE = f"""
import json, os, signal, sys, threading, time, warnings
main = sys.modules["__main__"]
print(json.dumps([
    sys.argv, sys.orig_argv[1:], sys.path, main.__name__, getattr(main, "__file__", None), main.__dict__ is globals(), dict(os.environ),
    os.getcwd(), sys.warnoptions, next(found[0] for found in warnings.filters if found[1:] == (None, Warning, None, 0)), list(map(str, sys.flags)), list(map(str, map(signal.getsignal, (2, 13, 15)))), time.tzname,
    sys.stdout.encoding, sys.stdout.line_buffering, sys.stdin.isatty(), threading.active_count(), os.listdir("/proc/self/fd"),
    [name for name in sys.modules if name.partition(".")[0] in {OURS!r}], "annotations" in globals(), os.getppid(), os.getpgrp(),
]))
print(sys.stdin.read(), file=sys.stderr)
"""

pytestmark = pytest.mark.skipif(not can_fork(untraced()), reason="only Linux gives a process to the parent of its parent")


def described(environment: Mapping[str, str], *arguments: str, fork: bool) -> tuple[list[object], str]:
    with start_python(environment, *arguments, stdin=subprocess.PIPE, fork=fork) as process:
        assert isinstance(process, ForkedPython) == fork
        out, err = process.communicate("a question", timeout=DEADLINE_SECONDS)
    assert process.returncode == 0, err
    return json.loads(out), err


@pytest.mark.parametrize("way", ["-c", "-W", "-m", "a program"])
def test_fork__is_like_a_new_interpreter(way: str, tmp_path: Path) -> None:
    (tmp_path / "describe.py").write_text(DESCRIBE)
    environment = untraced() | {"TZ": "Asia/Tokyo", "PYTHONWARNINGS": "error", "A_SETTING_OF_THE_TEST": "x y"}
    arguments = {
        "-c": ["-c", DESCRIBE, "one", "--two"],
        "-W": ["-W", "ignore", "-c", DESCRIBE],
        "-m": ["-m", "describe", "one"],
        "a program": [str(tmp_path / "describe.py"), "one"],
    }[way]
    if way == "-m":
        environment["PYTHONPATH"] = str(tmp_path)
    assert described(environment, *arguments, fork=True) == described(environment, *arguments, fork=False)


@pytest.mark.parametrize(
    ("code", "returned", "error"),
    [
        ("raise SystemExit(7)", 7, ""),
        ("raise SystemExit('It was not done.')", 1, "It was not done.\n"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero\n"),
        ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL, ""),
        ("import os; os.kill(os.getpid(), 2); import time; time.sleep(600)", -signal.SIGINT, "KeyboardInterrupt\n"),
        ("import atexit, sys; atexit.register(sys.stderr.write, 'at the end\\n')", 0, "at the end\n"),
    ],
)
def test_fork__ends_like_a_new_interpreter(code: str, returned: int, error: str) -> None:
    with start_python(untraced(), "-c", code) as process:
        err = process.communicate(timeout=DEADLINE_SECONDS)[1]
    assert (process.returncode, err[-len(error) :] if error else err) == (returned, error)


def test_fork__is_a_child_that_can_be_frozen_and_killed() -> None:
    with start_python(untraced(), "-c", "print('ready', flush=True); import time; time.sleep(600)") as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGSTOP)
        assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])
        assert process.poll() is None
        process.kill()
    assert process.returncode == -signal.SIGKILL


def test_fork__without_pipes__writes_where_this_process_writes(capfd: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-c", "print('here')"]
    with ForkedPython(command, cwd=BASE_DIR, env=untraced(), text=True) as process:
        assert process.wait(DEADLINE_SECONDS) == 0
    assert capfd.readouterr().out == "here\n"


def test_fork__a_server_that_cannot_start__says_why(tmp_path: Path) -> None:
    (tmp_path / "django.py").write_text("raise ImportError('This is not Django.')")
    with pytest.raises(AssertionError, match=r"This is not Django\."):
        start_python(untraced() | {"PYTHONPATH": str(tmp_path)}, "-c", "")


def test_fork__a_traced_process_is_none() -> None:
    assert not can_fork({"COVERAGE_PROCESS_START": "pyproject.toml"})
