"""The readers on files that are changed at random, in a process with a memory limit; ``tests.vectorstore.ingest.fuzz`` runs as long as one likes."""

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
    ran = subprocess.run(command, cwd=BASE_DIR, env=environment, capture_output=True, text=True, check=False, timeout=1200)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith(f"{reader}, seed {seed}: {inputs:,} files")


@pytest.mark.no_cover
@pytest.mark.long
@pytest.mark.parametrize("reader", SAMPLES)
def test_read__files_changed_at_random(reader: str) -> None:
    fuzz(reader, 1, 150)


@pytest.mark.no_cover
@pytest.mark.at_length
@pytest.mark.parametrize("reader", SAMPLES)
@pytest.mark.parametrize("seed", range(2, 5))
def test_read__many_files_changed_at_random(reader: str, seed: int) -> None:
    fuzz(reader, seed, 3000)
