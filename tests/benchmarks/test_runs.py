"""Run the benchmarks at a small size, which says nothing about speed."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from benchmarks.program import run
from findme.core.errors import UserFacingError
from findme.environment import BASE_DIR
from tests.support.commands import environment
from tests.support.database import Database
from tests.support.processes import run_program
from tests.support.untraced import untraced

WITH_TEMPLATE = """
import runpy, sys
from benchmarks import scratch
template, name = sys.argv[1:3]
del sys.argv[1:3]
scratch.scratch_database = lambda: scratch.empty_database(template)
runpy.run_module(name, run_name="__main__", alter_sys=True)
"""
"""Run a benchmark in a copy of a migrated database. To migrate one takes four seconds, and a test without a template does that too."""
RATIO = r"ratio [0-9.]+ \(goal: at least 0\.[568]\)"
LIMITED = r"ratio [0-9.]+ \(limit 3\)"


@pytest.mark.at_length
@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "arguments", "output"),
    [
        ("ingest", ["--rows", "20", "--rounds", "1"], rf"ingest: 20 new users, .*{RATIO}"),
        ("import_embeddings", ["--points", "20", "--rounds", "1"], rf"import_embeddings: 20 new users, .*; embedded store.*{RATIO}"),
        ("sync", ["--points", "20", "--rounds", "1"], rf"sync: 20 points, .*; embedded store.* new .*{RATIO}.* changed .*{RATIO}"),
        (
            "baseline",
            ["--users", "200", "--matches", "2000", "--writers", "2"],
            r".*baseline: 200 users, 2,000 matches, 2 writers: .*, ratio [0-9.]+\nwriters: .*, 0 errors, longest wait .* \(at most 5\): ",
        ),
        ("replay", ["--users", "20", "--entries", "5"], r"replay: 5 entries, 20 users, nothing to do: .* MiB \(limit 300\), 10 queries"),
        (
            "export",
            ["--rows", "100", "--rounds", "1"],
            rf"export: 100 rows, .*; embedded store.*{LIMITED}.* \(limit 64\), \d+ queries, 0 more",
        ),
        (
            "erasure",
            ["--users", "20", "--many-users", "40", "--points", "10", "--rounds", "2"],
            rf"erasure: 20 users, .*{LIMITED}\nerasure: 40 users, .*{LIMITED}\n.* times from 20 to 40 users",
        ),
        (
            "backup_load",
            ["--users", "20", "--many-users", "40", "--points", "5"],
            r"backup_load: 95th percentile of a writer at 40 users: .*\(limit 1\.2\)\n.* MiB \(limit 1\.1 times\)",
        ),
        (
            "backup",
            ["--users", "20", "--points", "5", "--rounds", "1"],
            r"backup: 20 users, .*; embedded store.* times the baseline with gzip 1 \(limit 1\.25\).* digests alone: [0-9.]+ of it",
        ),
        (
            "restore",
            ["--users", "20", "--points", "5", "--rounds", "1"],
            r"restore: 20 users, 5 points, .*; embedded store.*\n.*bare [0-9.]+ s .* restore [0-9.]+ s .* times the baseline \(limit 1\.5\)",
        ),
        ("retention", ["--users", "20", "--rounds", "1"], r"retention: 20 users, .*; embedded store.* ratio [0-9.]+ \(goal: at most 4\)"),
        ("search", ["--users", "20", "--searches", "2"], r"search: 10 of 20 users, .*; embedded store.*: bare query_points .* search "),
    ],
)
def test_benchmark__prints_the_ratio_to_its_baseline(
    embedded_qdrant: Path, template: Database, name: str, arguments: list[str], output: str
) -> None:
    ran = run_program(environment(), "-c", WITH_TEMPLATE, template.name, f"benchmarks.{name}", *arguments)
    # A small size says nothing about speed, so a limit may be missed.
    assert (ran.returncode in ((0, 1) if "limit" in output else (0,)), ran.stderr) == (True, "")
    assert re.match(output, ran.stdout, re.DOTALL), ran.stdout


@pytest.mark.at_length
@pytest.mark.django_db
def test_benchmark__without_a_database_url_uses_the_embedded_server(embedded_qdrant: Path) -> None:
    if os.environ.get("DATABASE_URL"):
        pytest.skip("the tests run on the server at DATABASE_URL, so no embedded server is used")
    names = {name: value for name, value in environment().items() if name not in ("DATABASE_URL", "DEBUG", "DJANGO_SETTINGS_MODULE")}
    ran = run_program(names, "-m", "benchmarks.search", "--users", "20", "--searches", "2")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("search: 10 of 20 users")


PROGRAMS = sorted(path.stem for path in (BASE_DIR / "benchmarks").glob("*.py") if '__name__ == "__main__"' in path.read_text())


def test_programs__are_found() -> None:
    assert {"capture", "import_embeddings", "ingest", "recall", "search", "sync", "sync_worker", "verify"} <= set(PROGRAMS)


@pytest.mark.at_length
@pytest.mark.parametrize("name", PROGRAMS)
def test_benchmark__without_postgresql__ends_with_one_line_and_exit_code_2(tmp_path: Path, name: str) -> None:
    """Exit code 1 would mean that it was done, and that a goal was missed."""
    names = untraced() | {
        "DATABASE_URL": f"postgresql:///none?host={tmp_path}",
        "DEBUG": "on",
        "QDRANT_URL": "",
        "QDRANT_PATH": str(tmp_path / "qdrant"),
    }
    sizes = {
        "recall": (),
        "sync_worker": ("none", "none"),
        "capture": ("--rows", "20"),
        "ingest": ("--rows", "20"),
        "export": ("--rows", "100"),
    }
    sizes["measured"] = ("none", "none", str(tmp_path), "replay")
    arguments = sizes.get(name, ("--points" if name in ("import_embeddings", "sync", "verify") else "--users", "20"))
    ran = run_program(names, "-m", f"benchmarks.{name}", *arguments)
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (2, "", 1), ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (None, 0, ""),
        (UserFacingError("It was not done."), 2, "It was not done.\n"),
        (ZeroDivisionError("a defect"), 2, "Traceback .*ZeroDivisionError: a defect\n"),
        (KeyboardInterrupt(), 130, "Interrupted.\n"),
        (SystemExit(1), 1, ""),
    ],
)
def test_run__exit_codes(error: BaseException | None, code: int, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        if error is not None:
            raise error

    with pytest.raises(SystemExit) as ended:
        run(main)
    assert ended.value.code == code
    assert re.fullmatch(line, capsys.readouterr().err, re.DOTALL)
