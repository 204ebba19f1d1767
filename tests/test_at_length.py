"""Examples with the marker ``at_length`` are left out of a run, and are all of a run with ``--long``; tests of Hypothesis are in both."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from findme.environment import BASE_DIR

TESTS = """
import hypothesis
import pytest

@pytest.mark.at_length("two", "20-one")
@pytest.mark.parametrize("name", ["one", "two"])
@pytest.mark.parametrize("size", [10, 20])
def test_some(name, size):
    pass

@pytest.mark.at_length
@pytest.mark.parametrize("size", [10, 20])
def test_all(size):
    pass

@pytest.mark.at_length(every=3)
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_sampled(size):
    pass

def test_none():
    pass

@pytest.mark.scaled
def test_scaled():
    pass

@hypothesis.given(number=hypothesis.strategies.integers())
def test_given(number):
    pass
"""


@pytest.mark.parametrize(
    ("options", "chosen", "others"),
    [
        ([], ["test_given", "test_none", "test_sampled[1]", "test_sampled[4]", "test_scaled", "test_some[10-one]"], 7),
        (
            ["--all"],
            [
                "test_all[10]",
                "test_all[20]",
                "test_given",
                "test_none",
                *(f"test_sampled[{size}]" for size in range(1, 5)),
                "test_scaled",
                *(f"test_some[{size}-{name}]" for size in (10, 20) for name in ("one", "two")),
            ],
            0,
        ),
        (
            ["--long"],
            [
                "test_all[10]",
                "test_all[20]",
                "test_given",
                "test_sampled[2]",
                "test_sampled[3]",
                "test_scaled",
                "test_some[10-two]",
                "test_some[20-one]",
                "test_some[20-two]",
            ],
            4,
        ),
    ],
)
def test_at_length(tmp_path: Path, options: list[str], chosen: list[str], others: int) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n at_length\n scaled")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "tests.at_length",
        "-p",
        "no:randomly",
        "-p",
        "no:cacheprovider",
        "-v",
        "-c",
        "pytest.ini",
    ]
    ran = subprocess.run(
        [*command, *options], cwd=tmp_path, env={"PYTHONPATH": str(BASE_DIR), "PATH": ""}, capture_output=True, text=True, check=False
    )
    names = sorted(line.split()[0].split("::")[1] for line in ran.stdout.splitlines() if " PASSED" in line)
    assert (names, f"{others} deselected" in ran.stdout) == (chosen, others > 0), ran.stdout + ran.stderr
