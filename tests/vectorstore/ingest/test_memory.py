"""Memory of loading does not grow with the number of rows, measured in a separate process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from findme.environment import BASE_DIR
from tests.support.commands import environment

ROWS = 2000
ALLOWED_GROWTH = 6 << 20
"""Bytes. The vectors of the additional rows alone need 12 MB, and much more as Python floats."""

CHILD = """
import resource, sys
import django
django.setup()
from vectorstore.ingest.load import upsert_embeddings

for file in sys.argv[1:]:
    loaded = upsert_embeddings([file])
    print(loaded.read, loaded.rejected, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def user_ids(count: int) -> list[str]:
    return [f"00000000-0000-4000-8000-{number:012}" for number in range(count)]


def json_lines(path: Path, count: int) -> None:
    with path.open("w") as stream:
        for user_id in user_ids(count):
            stream.write(json.dumps({"user_id": user_id, "vector": [1.5] * 512, "interests": ["sea"]}) + "\n")


def npz(path: Path, count: int) -> None:
    np.savez(path, user_ids=np.array(user_ids(count)), vectors=np.ones((count, 512), np.float32))


def parquet(path: Path, count: int) -> None:
    """Write one row group, which would not fit the limit if it were read at once."""
    numbers = np.random.default_rng(1).standard_normal(count * 512).astype(np.float32)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(numbers), 512)
    pq.write_table(pa.table({"user_id": user_ids(count), "vector": vectors}), path, row_group_size=count)


SUFFIXES: dict[Callable[[Path, int], None], str] = {json_lines: ".jsonl", npz: ".npz", parquet: ".parquet"}


@pytest.mark.no_cover
@pytest.mark.long
@pytest.mark.at_length
@pytest.mark.django_db
@pytest.mark.parametrize("write", SUFFIXES, ids=lambda write: write.__name__)
def test_load__larger_file__needs_no_more_memory(tmp_path: Path, write: Callable[[Path, int], None]) -> None:
    """Load a small file, then a large one."""
    files = [tmp_path / f"{count}{SUFFIXES[write]}" for count in (ROWS, 4 * ROWS)]
    for path, count in zip(files, (ROWS, 4 * ROWS), strict=True):
        write(path, count)
    command = [sys.executable, "-c", CHILD, *map(str, files)]
    finished = subprocess.run(command, cwd=BASE_DIR, env=environment(), capture_output=True, text=True, check=True, timeout=300)
    results = [[int(number) for number in line.split()] for line in finished.stdout.splitlines()]
    assert [result[:2] for result in results] == [[ROWS, ROWS], [4 * ROWS, 4 * ROWS]]  # no user has these ids
    (*_, small), (*_, large) = results
    assert large - small < ALLOWED_GROWTH
