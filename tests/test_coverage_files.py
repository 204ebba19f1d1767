"""A damaged coverage file of a killed process does not fail a run with coverage."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.coverage_files import remove_unreadable
from tests.support.untraced import untraced

CONFIGURATION = """
[tool.pytest.ini_options]
addopts = "-p no:randomly -p no:django"
[tool.coverage.run]
source = ["."]
"""
TEST = """
import shutil
def test_one() -> None:
    shutil.copy("damaged", ".coverage.host.1")  # as a process leaves it that the test killed
"""


def complete_file(folder: Path, name: str) -> Path:
    """Return a complete coverage file of a process that was not killed."""
    (folder / "script.py").write_text("print('run')\n")
    names = untraced() | {"COVERAGE_FILE": str(folder / name)}
    subprocess.run([sys.executable, "-m", "coverage", "run", "script.py"], cwd=folder, env=names, check=True, capture_output=True)
    return folder / name


def damage(path: Path) -> None:
    """Overwrite the second half, as an interrupted write does."""
    size = path.stat().st_size
    with path.open("r+b") as data:
        data.seek(size // 2)
        data.write(os.urandom(size - size // 2))


def test_remove_unreadable__keeps_what_can_be_read(tmp_path: Path) -> None:
    whole, damaged = complete_file(tmp_path, ".coverage.host.1"), complete_file(tmp_path, ".coverage.host.2")
    damage(damaged)
    empty, text = tmp_path / ".coverage.host.3", tmp_path / ".coverage.host.4"
    empty.touch()
    text.write_text("no database")

    assert sorted(remove_unreadable(tmp_path)) == [damaged, empty, text]
    assert whole.exists()


@pytest.mark.at_length("processes1")
@pytest.mark.parametrize("processes", [[], ["-n", "1"]])
def test_coverage__a_damaged_file_does_not_fail_the_run(tmp_path: Path, processes: list[str]) -> None:
    (tmp_path / "pyproject.toml").write_text(CONFIGURATION)
    (tmp_path / "test_one.py").write_text(TEST)
    damage(complete_file(tmp_path, "damaged"))
    command = [sys.executable, "-m", "pytest", "-p", "tests.coverage_files", "--cov", "-q", *processes]
    names = untraced() | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    ran = subprocess.run(command, cwd=tmp_path, env=names, check=False, capture_output=True, text=True)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Removed 1 unreadable coverage file(s) of killed processes." in ran.stdout and "TOTAL" in ran.stdout
