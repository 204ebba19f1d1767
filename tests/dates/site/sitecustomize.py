# ruff: noqa: INP001  # Python finds it by its own name, not in a package
"""Move the clock of this Python process, and of every process that it starts.

Python imports a module with this name at startup. ``make test-dates`` puts this folder on PYTHONPATH and describes the clock in
FINDME_TEST_CLOCK. The code does not import FindMe: it also runs in environments and for accounts that cannot.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

VARIABLE = "FINDME_TEST_CLOCK"
HERE = str(Path(__file__).parent)
POSTGRESQL = {"postgres", "initdb", "pg_ctl"}


def move_clock(seconds: int) -> None:
    """Move the clock by ``seconds``. It continues to run. A virtual environment that a test makes has no time-machine and keeps its clock."""
    try:
        import time_machine
    except ModuleNotFoundError:
        return
    time_machine.travel(time.time() + seconds, tick=True).start()


def move_clocks_of_children(setting: str) -> None:
    """Make ``subprocess.Popen`` pass the clock on, also if a test gives the child another environment."""
    start: Any = subprocess.Popen.__init__

    def start_with_clock(
        process: subprocess.Popen[Any], args: Any, *rest: Any, env: Mapping[str, str] | None = None, **options: Any
    ) -> None:
        start(process, args, *rest, env=environment(setting, args, os.environ if env is None else env), **options)

    subprocess.Popen.__init__ = start_with_clock  # type: ignore[assignment, method-assign]


def environment(setting: str, command: Any, given: Mapping[str, str]) -> dict[str, str]:
    """Return the environment ``given`` with the variables that move the clock of the program that ``command`` starts."""
    clock = json.loads(setting)
    words = [command] if isinstance(command, str | bytes | os.PathLike) else command
    if any(Path(os.fsdecode(word)).name in POSTGRESQL for word in words):
        return {
            **given,
            "LD_PRELOAD": clock["libfaketime"],
            "FAKETIME": f"{clock['offset']:+d}s",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # timeouts are measured with the monotonic clock
            "NO_FAKE_STAT": "1",
        }
    folders = [folder for folder in given.get("PYTHONPATH", "").split(os.pathsep) if folder and folder != HERE]
    # Django sets TZ to UTC for its own process. A child starts with the zone of the machine, as a command of the operator does.
    zone = clock["zone"] if given.get("TZ") in (None, os.environ.get("TZ")) else given["TZ"]
    return {**given, "PYTHONPATH": os.pathsep.join([HERE, *folders]), VARIABLE: setting, "TZ": zone}


def run_other_sitecustomize() -> None:
    """Run the ``sitecustomize`` that this one hides, if there is one."""
    found = importlib.machinery.PathFinder.find_spec("sitecustomize", [folder for folder in sys.path if folder != HERE])
    if found is not None and found.loader is not None:
        found.loader.exec_module(importlib.util.module_from_spec(found))


if __name__ == "sitecustomize":
    if VARIABLE in os.environ:
        move_clock(json.loads(os.environ[VARIABLE])["offset"])
        move_clocks_of_children(os.environ[VARIABLE])
    run_other_sitecustomize()
