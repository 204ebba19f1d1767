"""A program that changes files randomly. For each file, its reader must return rows or rejections, or raise one line.

    DJANGO_SETTINGS_MODULE=tests.settings python -m tests.vectorstore.ingest.fuzz parquet --seconds 300 --seed 1

It may use 256 MiB more memory than at its start. The first error ends it with exit code 1, and its file is kept.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.vectorstore.ingest.inputs import numbered_ids
from tests.vectorstore.ingest.mutations import change_file, change_zip_member
from vectorstore.ingest.formats.parquet import decoder, process
from vectorstore.ingest.formats.parquet.decoder import Frame

MEMORY = 256 << 20
SECONDS_FOR_A_FILE = 60
LONGEST_MESSAGE = 2000
ZIP_MEMBER_SHARE = 0.5


def json_lines() -> Iterator[bytes]:
    rows: list[Any] = [
        {
            "user_id": numbered_ids(1)[0],
            "vector": [0.5] * 512,
            "location": {"lat": 52.5, "lon": 13.4},
            "interests": ["sea"],
            "video_features": [1, 2.5],
        },
        {"user_id": numbered_ids(2)[1], "location": None, "interests": ["caf\u00e9", "\U0001f30a"], "video_features": None},
        {"user_id": numbered_ids(3)[2].replace("-", ""), "vector": [-1e-3, 7] * 256},
    ]
    yield b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    yield b"\xef\xbb\xbf" + b"\r\n".join(json.dumps(row, ensure_ascii=False).encode() for row in rows)


def npz() -> Iterator[bytes]:
    for save in (np.savez, np.savez_compressed):
        for user_ids, dtype in (
            (np.array(numbered_ids(3)), "<f4"),
            (np.frombuffer(bytes(range(48)), "V16"), ">f8"),
            (np.array(numbered_ids(3), "S36"), "<f2"),
        ):
            stream = io.BytesIO()
            save(stream, user_ids=user_ids, vectors=np.linspace(-1, 1, 3 * 512).reshape(3, 512).astype(dtype))
            yield stream.getvalue()


def parquet() -> Iterator[bytes]:
    text, number = pa.dictionary(pa.int32(), pa.string()), pa.float32()
    columns = {
        "user_id": numbered_ids(4),
        "vector": pa.array([[0.5] * 512, None, [1.0] * 511, [-2.0] * 512], pa.list_(number)),
        "location": pa.array([{"lat": 52.5, "lon": 13.4}, None, None, None]),
        "interests": pa.array([["sea", "sea"], None, [], [None, "x" * 200]], pa.list_(text)),
        "video_features": pa.array([[1], None, [], [3, None]], pa.large_list(pa.int32())),
    }
    option_sets: list[dict[str, Any]] = [
        {"compression": "none", "write_page_checksum": True},
        {"compression": "snappy", "row_group_size": 3},
        {"compression": "zstd", "use_dictionary": False, "data_page_version": "2.0"},
        {"compression": "gzip", "use_dictionary": False, "column_encoding": {"user_id": "DELTA_BYTE_ARRAY"}},
        {"compression": "none", "store_schema": False, "write_statistics": False},
    ]
    for write_options in option_sets:
        stream = io.BytesIO()
        pq.write_table(pa.table(columns), stream, **write_options)
        yield stream.getvalue()


SAMPLES: dict[str, tuple[str, Callable[[], Iterator[bytes]]]] = {
    "json_lines": (".jsonl", json_lines),
    "npz": (".npz", npz),
    "parquet": (".parquet", parquet),
}


def frames_of_fork(path: Path, rows_at_a_time: int, skip: int) -> Iterator[Frame]:
    """Yield what the real process would send, from a fork of this one, which is 50 times faster."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            decoder.limit_memory()
            with path.open("rb") as stream, os.fdopen(write_end, "wb") as answer:
                for tag, content in decoder.frames(stream, rows_at_a_time=rows_at_a_time, skip=skip):
                    answer.write(decoder.HEADER.pack(tag, len(content)) + content)
        finally:
            os._exit(0)
    os.close(write_end)
    try:
        with os.fdopen(read_end, "rb") as answer:
            while frame := process._frame(answer):
                yield frame
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def read(path: Path) -> str:
    """Read the file as ``upsert_embeddings`` does, and return how it ended. Raise each error that is not allowed."""
    from findme.core.errors import UserFacingError
    from vectorstore.ingest.rows import UNSET, Row
    from vectorstore.ingest.sources import sources
    from vectorstore.models.limits import LONGEST_INTEREST, MOST_INTERESTS, MOST_VIDEO_FEATURES

    rejected = 0
    try:
        (source,) = sources([str(path)])
        for entry in source.entries():
            json.dumps(entry.original(), allow_nan=False)
            if not isinstance(entry, Row):
                rejected += 1
                assert len(entry.reason) < LONGEST_MESSAGE, entry.reason
                continue
            vector, interests, features = entry.content.vector, entry.content.interests, entry.content.video_features
            assert vector is UNSET or (len(vector) == 512 and np.isfinite(vector).all() and vector.any())
            assert interests is UNSET or (len(interests) <= MOST_INTERESTS and max(map(len, interests), default=0) <= LONGEST_INTEREST)
            assert features is UNSET or features is None or (len(features) <= MOST_VIDEO_FEATURES and np.isfinite(features).all())
    except UserFacingError as error:
        message = str(error)
    else:
        message = ""
    assert "\n" not in message and len(message) < LONGEST_MESSAGE, message
    if message:
        return "refused"
    return "some rows rejected" if rejected else "every row read"


def limit_memory() -> None:
    data = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_DATA, (data + MEMORY, data + MEMORY))


def fuzz(reader: str, seed: int, *, seconds: float, inputs: int) -> Counter[str]:
    """Read changed files and count how they ended. Raise at the first error that a reader must not raise."""
    suffix, samples = SAMPLES[reader]
    originals, rng = list(samples()), random.Random(seed)
    process.frames_of = frames_of_fork
    limit_memory()
    endings: Counter[str] = Counter()
    deadline = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"x{suffix}"
        while endings.total() < inputs and time.monotonic() < deadline:
            if reader == "npz" and rng.random() < ZIP_MEMBER_SHARE:
                content = change_zip_member(rng, originals)
            else:
                content = change_file(rng, originals, as_text=reader == "json_lines")
            path.write_bytes(content)
            signal.alarm(SECONDS_FOR_A_FILE)
            try:
                endings[read(path)] += 1
            except BaseException:  # noqa: BLE001  # includes MemoryError and the timeout
                kept_file = Path(tempfile.gettempdir()) / f"fuzz-{reader}-{seed}-{endings.total()}{suffix}"
                kept_file.write_bytes(content)
                raise SystemExit(f"{traceback.format_exc()}{reader}, seed {seed}, file {endings.total()}: {kept_file}") from None
            signal.alarm(0)
    return endings


def raise_timeout(*_: object) -> None:
    raise TimeoutError(f"A file took more than {SECONDS_FOR_A_FILE} s.")


def main(arguments: Sequence[str]) -> None:
    import django

    parser = argparse.ArgumentParser()
    parser.add_argument("reader", choices=SAMPLES)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--inputs", type=int, default=sys.maxsize)
    options = parser.parse_args(arguments)
    django.setup()
    signal.signal(signal.SIGALRM, raise_timeout)
    endings = fuzz(options.reader, options.seed, seconds=options.seconds, inputs=options.inputs)
    own, forks = (resource.getrusage(who).ru_maxrss >> 10 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    sys.stdout.write(
        f"{options.reader}, seed {options.seed}: {endings.total():,} files, {dict(endings)}, at most {own} MiB, forks {forks} MiB\n"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
