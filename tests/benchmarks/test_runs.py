"""The benchmarks run, at a size that says nothing about speed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.program import run
from findme.core.errors import UserFacingError
from findme.environment import BASE_DIR
from tests.support.commands import environment
from tests.untraced import untraced

RATIO = r"ratio [0-9.]+ \(aim: at least 0\.[58]\)"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("ingest", ["--rows", "20", "--rounds", "1"], rf"ingest: 20 new people, .*{RATIO}"),
        ("sync", ["--points", "20", "--rounds", "1"], rf"sync: 20 points, .*; embedded store.* new .*{RATIO}.* changed .*{RATIO}"),
        ("search", ["--people", "20", "--searches", "2"], r"search: 10 of 20 people, .*; embedded store.*: bare query_points .* search "),
    ],
)
def test_benchmark__says_what_it_measured_against_what(embedded_qdrant: Path, name: str, arguments: list[str], said: str) -> None:
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
    ran = subprocess.run(command, cwd=BASE_DIR, env=environment(), capture_output=True, text=True, check=False, timeout=120)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert re.match(said, ran.stdout, re.DOTALL), ran.stdout


@pytest.mark.django_db
def test_benchmark__without_a_database_url_uses_the_embedded_server(embedded_qdrant: Path) -> None:
    if os.environ.get("DATABASE_URL"):
        pytest.skip("the tests run on the server at DATABASE_URL, so there is no embedded one")
    names = {name: value for name, value in environment().items() if name not in ("DATABASE_URL", "DEBUG", "DJANGO_SETTINGS_MODULE")}
    command = [sys.executable, "-m", "benchmarks.search", "--people", "20", "--searches", "2"]
    ran = subprocess.run(command, cwd=BASE_DIR, env=names, capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("search: 10 of 20 people")


PROGRAMS = sorted(path.stem for path in (BASE_DIR / "benchmarks").glob("*.py") if '__name__ == "__main__"' in path.read_text())


def test_benchmarks__are_found() -> None:
    assert {"capture", "ingest", "recall", "search", "sync", "sync_worker", "verify"} <= set(PROGRAMS)


@pytest.mark.parametrize("name", PROGRAMS)
def test_benchmark__without_postgresql_it_ends_in_one_line_and_exit_2(tmp_path: Path, name: str) -> None:
    """Exit 1 means that it was done, and that an aim was missed."""
    names = untraced() | {
        "DATABASE_URL": f"postgresql:///none?host={tmp_path}",
        "DEBUG": "on",
        "QDRANT_URL": "",
        "QDRANT_PATH": str(tmp_path / "qdrant"),
    }
    sizes = {"recall": (), "sync_worker": ("none", "none"), "capture": ("--rows", "20"), "ingest": ("--rows", "20")}
    arguments = sizes.get(name, ("--points" if name in ("sync", "verify") else "--people", "20"))
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
    ran = subprocess.run(command, cwd=BASE_DIR, env=names, capture_output=True, text=True, check=False, timeout=120)
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (2, "", 1), ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (None, 0, ""),
        (UserFacingError("It was not done."), 2, "It was not done.\n"),
        (ZeroDivisionError("a defect"), 2, "Traceback .*ZeroDivisionError: a defect\n"),
        (KeyboardInterrupt(), 130, "Interrupted.\n"),
        (SystemExit(1), 1, ""),
    ],
)
def test_run__exit_codes(error: BaseException | None, code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        if error is not None:
            raise error

    with pytest.raises(SystemExit) as ended:
        run(main)
    assert ended.value.code == code
    assert re.fullmatch(said, capsys.readouterr().err, re.DOTALL)
