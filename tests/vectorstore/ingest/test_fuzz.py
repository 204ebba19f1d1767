"""The readers, on randomly changed files, in a process with a memory limit.

``python -m tests.vectorstore.ingest.fuzz`` runs longer.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from findme.environment import BASE_DIR
from tests.vectorstore.ingest.fuzz import SAMPLES


def fuzz(reader: str, seed: int, inputs: int) -> None:
    command = [sys.executable, "-m", "tests.vectorstore.ingest.fuzz", reader, "--seed", str(seed), "--inputs", str(inputs)]
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"}
    finished = subprocess.run(command, cwd=BASE_DIR, env=environment, capture_output=True, text=True, check=False, timeout=1200)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.startswith(f"{reader}, seed {seed}: {inputs:,} files")


@pytest.mark.at_length
@pytest.mark.no_cover
@pytest.mark.long
@pytest.mark.parametrize("reader", SAMPLES)
def test_read__randomly_changed_files__end_in_rows_rejections_or_one_line(reader: str) -> None:
    fuzz(reader, 1, 150)


@pytest.mark.no_cover
@pytest.mark.at_length
@pytest.mark.parametrize("reader", SAMPLES)
@pytest.mark.parametrize("seed", range(2, 5))
def test_read__many_randomly_changed_files__end_in_rows_rejections_or_one_line(reader: str, seed: int) -> None:
    fuzz(reader, seed, 3000)
