"""Loading any file needs at most 256 MiB, with its decoder, measured in a separate process."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from findme.environment import BASE_DIR
from tests.factories import UserFactory
from tests.qdrant import QdrantServer
from tests.support.commands import environment
from vectorstore.schema.initialize import initialize

MEMORY = 256
"""MiB."""

CHILD = """
import resource, sys
import django
django.setup()
from pathlib import Path
from django.db import connection
from findme.core.errors import UserFacingError
from vectorstore.ingest.load import upsert_embeddings

def mebibytes(name):
    return int(Path("/proc/self/status").read_text().split(name + ":")[1].split()[0]) >> 10

connection.ensure_connection()
start = mebibytes("VmRSS")
queue_only = sys.argv.pop(1) == "queue only"
for file in sys.argv[1:]:
    try:
        loaded = upsert_embeddings([file], queue_only=queue_only)
        ended = f"{loaded.loaded} loaded, {loaded.rejected} rejected"
        if not queue_only:
            ended += f", {loaded.projected} written"
    except UserFacingError as error:
        ended = "refused: " + str(error).split("'")[2].strip()[:30]
    decoder = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10
    print(mebibytes("VmHWM") - start + decoder, ended, sep="\\t", flush=True)
"""


def run(*files: Path, queue_only: bool = True) -> list[str]:
    """Load the files in one process and return how each ended. Fail if one needs too much memory."""
    command = [sys.executable, "-c", CHILD, "queue only" if queue_only else "sync", *map(str, files)]
    finished = subprocess.run(command, cwd=BASE_DIR, env=environment(), capture_output=True, text=True, check=False, timeout=600)
    assert finished.returncode == 0, finished.stderr
    results = [line.split("\t") for line in finished.stdout.splitlines()]
    too_large = [(file.name, int(peak)) for file, (peak, _) in zip(files, results, strict=True) if int(peak) > MEMORY]
    assert not too_large
    return [ended for _, ended in results]


def endless_line(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate((MEMORY + 44) << 20)


def nested_lists(path: Path) -> None:
    """Write nested lists, for which Python needs 20 times the size of the file."""
    path.write_text(('{"interests":[' + "[]," * 349_000 + "[]]}\n") * 10)


def npz(path: Path, method: int, rows: int) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, array in (("user_ids", np.zeros(rows, "V16")), ("vectors", np.zeros((rows, 512), np.float32))):
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, array)


def parquet(path: Path, field: str, values: Any) -> None:
    user_ids = [str(UUID(int=1))]
    lists = pa.LargeListArray.from_arrays(pa.array([0, len(values)], pa.int64()), values)
    pq.write_table(pa.table({"user_id": user_ids, field: lists}), path, compression="zstd")


def large_rows(path: Path) -> None:
    """Write rows of which one batch has 256 MB."""
    user_ids = [str(UUID(int=number + 1)) for number in range(300)]
    pq.write_table(pa.table({"user_id": user_ids, "video_features": [[0.5] * 120_000] * 300}), path, compression="zstd")


HOSTILE: dict[str, tuple[Callable[[Path], None], str]] = {
    "line.jsonl": (endless_line, "0 loaded, 1 rejected"),
    "lists.jsonl": (nested_lists, "0 loaded, 10 rejected"),
    "bzip2.npz": (lambda path: npz(path, zipfile.ZIP_BZIP2, 150_000), "refused: : user_ids is compressed with "),
    "deflated.npz": (lambda path: npz(path, zipfile.ZIP_DEFLATED, 150_000), "0 loaded, 150000 rejected"),
    "interests.parquet": (
        lambda path: parquet(
            path, "interests", pa.DictionaryArray.from_arrays(pa.array(np.zeros(20_000_000, np.int32), pa.int32()), ["a"])
        ),
        "refused: is damaged, or row 1 needs mor",
    ),
    "features.parquet": (
        lambda path: parquet(path, "video_features", pa.array(np.zeros(20_000_000, np.float32), pa.float32())),
        "refused: is damaged, or row 1 needs mor",
    ),
    "rows.parquet": (large_rows, "0 loaded, 300 rejected"),
}


@pytest.mark.at_length("lists.jsonl", "bzip2.npz", "deflated.npz", "interests.parquet", "features.parquet", "rows.parquet")
@pytest.mark.no_cover
@pytest.mark.long
@pytest.mark.django_db
@pytest.mark.parametrize("name", HOSTILE)
def test_load__hostile_file__stays_within_the_limit(tmp_path: Path, name: str) -> None:
    write, ended = HOSTILE[name]
    write(tmp_path / name)
    assert run(tmp_path / name) == [ended]


def largest_rows(user_ids: list[UUID]) -> Iterator[dict[str, Any]]:
    for user_id in user_ids:
        interests = ["\u20ac" * 97 + f"{number:03}" for number in range(100)]
        yield {"user_id": str(user_id), "vector": [1] + [0] * 511, "interests": interests, "video_features": [0] * 1024}


@pytest.mark.at_length
@pytest.mark.no_cover
@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_load__largest_rows__stays_within_the_limit(tmp_path: Path) -> None:
    """New and changed rows, as JSON Lines and Parquet. PostgreSQL receives more bytes than the file has."""
    count = 700
    rows = list(largest_rows([user.pk for user in UserFactory.create_batch(count)]))
    lines, table = tmp_path / "x.jsonl", tmp_path / "x.parquet"
    lines.write_text("\n".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), table, compression="zstd")
    assert run(lines, lines, table) == [f"{count} loaded, 0 rejected"] * 3


@pytest.mark.no_cover
@pytest.mark.long
@pytest.mark.qdrant_server
@pytest.mark.django_db(transaction=True)
def test_load__largest_points__stays_within_the_limit(server: QdrantServer, tmp_path: Path) -> None:
    """A batch of rows is small enough for its points too, by REST and by gRPC."""
    initialize()
    count, lines = 700, tmp_path / "x.jsonl"
    rows = largest_rows([user.pk for user in UserFactory.create_batch(count)])
    lines.write_text("\n".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows))
    assert run(lines, lines, queue_only=False) == [f"{count} loaded, 0 rejected, {count} written"] * 2
