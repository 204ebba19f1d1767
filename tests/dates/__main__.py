"""``python -m tests.dates [--date DATE ...] [TESTS ...]``: run the suite with the clocks of ``clocks.py``, one after the other.

Exits with 0 when all runs pass, with 1 when one fails, and with 2 when none can start. Tests marked ``browser`` and ``qdrant_server`` are left
out: Chromium and Qdrant keep the clock of the machine.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from findme.environment import BASE_DIR
from tests.dates import libfaketime
from tests.dates.clocks import CLOCKS, Clock, parse

IMPORTED_AT_STARTUP = "ignore:Module already imported so cannot be rewritten; time_machine"
STOP_A_TEST_THAT_HANGS = ("-o", "faulthandler_timeout=900", "-o", "faulthandler_exit_on_timeout=true")
INTERRUPTED = 130
LEFT_OUT = "not browser and not qdrant_server"


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    library = libfaketime.find()
    if missing := _missing(library):
        sys.stderr.write(f"{missing}\n")
        return 2
    assert library is not None
    results = []
    with tempfile.TemporaryDirectory(prefix="findme-dates-") as folder:
        Path(folder).chmod(0o755)
        copy = libfaketime.copy_without_waits(library, Path(folder))
        for clock in options.date or CLOCKS:
            results.append(_run(clock, copy, options.processes, options.tests))
            if results[-1][0] == INTERRUPTED:
                return INTERRUPTED
    sys.stdout.write("".join(f"{line}\n" for _, line in results))
    sys.stdout.write("Left out: tests marked browser or qdrant_server, whose programs keep the clock of the machine.\n")
    return int(any(code for code, _ in results))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.dates", description="Run the tests on other days.")
    parser.add_argument(
        "--date",
        action="append",
        type=_clock,
        help="YYYY-MM-DD, YYYY-MM-DDTHH:MM (UTC), each with @ZONE for the machine's time zone; may be repeated. Default: all of the list",
    )
    parser.add_argument("--processes", default=str(min((os.cpu_count() or 1) + 1, 4)), help="processes that run tests")
    parser.add_argument("tests", nargs="*", help="files or folders (default: the whole suite)")
    return parser


def _clock(name: str) -> Clock:
    try:
        return parse(name)
    except (ValueError, KeyError, OSError):
        raise argparse.ArgumentTypeError(
            f"{name!r} is no clock: write 2028-02-29, 2028-02-28T23:58 or 2026-12-31@Pacific/Kiritimati."
        ) from None


def _missing(library: Path | None) -> str:
    """Return one line that says what to install or to change before a run can start."""
    if library is None:
        return "libfaketime is not installed, and PostgreSQL's clock cannot be moved without it. Install it (Debian, Ubuntu: apt-get install libfaketime)."
    if importlib.util.find_spec("time_machine") is None:
        return "The package time-machine is not installed, and Python's clock cannot be moved without it. Run `make install`."
    if os.environ.get("DATABASE_URL"):
        return "DATABASE_URL names a server whose clock cannot be moved. Unset it: the tests then start a PostgreSQL of their own."
    return ""


def _run(clock: Clock, library: Path, processes: str, tests: Sequence[str]) -> tuple[int, str]:
    """Run pytest on this clock. Return its exit code, ``INTERRUPTED`` after Ctrl-C, and a line for the summary."""
    options = [
        "-p",
        "tests.dates.plugin",
        "-m",
        LEFT_OUT,
        "-W",
        IMPORTED_AT_STARTUP,
        *STOP_A_TEST_THAT_HANGS,
        "-n",
        processes,
        "--dist",
        "worksteal",
    ]
    sys.stdout.write(f"\n{clock.name}: {clock.start:%Y-%m-%d %H:%M} UTC, TZ={clock.zone}\n")
    sys.stdout.flush()
    began, shared_before = time.monotonic(), _shared_by_libfaketime()
    command = [sys.executable, "-m", "pytest", *options, *tests]
    try:
        code = subprocess.run(command, check=False, cwd=BASE_DIR, env={**_without_other_run(), **clock.environment(library)}).returncode
    except KeyboardInterrupt:
        code = INTERRUPTED
    _remove_shared(_shared_by_libfaketime() - shared_before)
    outcome = "passed" if code == 0 else f"FAILED (pytest's exit code {code})"
    return code, f"{clock.name:<32} {outcome} in {time.monotonic() - began:.0f} s"


def _without_other_run() -> dict[str, str]:
    """Return this environment without variables of another run's PostgreSQL or coverage: a test may start this program."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_XDIST", "COV", "EMBEDDED_"))}


def _shared_by_libfaketime() -> set[Path]:
    """Return libfaketime's files in memory: a process that replaces itself leaves two, such as the shell that starts PostgreSQL."""
    return set(Path("/dev/shm").glob("*faketime_*"))


def _remove_shared(files: set[Path]) -> None:
    """Remove the files of processes that have ended. Another run may use the others."""
    for file in files:
        if not Path("/proc", file.name.rpartition("_")[2]).exists():
            with suppress(OSError):
                file.unlink()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
