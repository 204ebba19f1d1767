"""The program that decodes a Parquet file: it runs in a process of its own, under a memory limit.

997 bytes can decode to gigabytes, and no option of pyarrow limits that. The file is standard input, the answer goes to standard output in frames.
Only the parent process, ``parquet_process``, starts it. It imports pyarrow and nothing of Django, so it starts in a quarter of a second.
"""

from __future__ import annotations

import resource
import signal
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

MEMORY_LIMIT = 128 << 20
"""In bytes, above what the process has when it starts. With the process itself (65 MB) and its parent, 256 MiB are never reached."""
LONGEST_ROW = 1 << 20
"""In bytes, as Arrow has a row in memory. A line of JSON Lines has the same limit."""
LONGEST_ID_KEPT = 1000
LARGEST_SCHEMA = 1 << 16
LONGEST_ERROR = 500
BYTES_OF_AN_ID = 16
MOST_FOR_A_BYTE = 1032
"""Bytes that may come out of one byte of the file. Ids are different, so no codec makes more of them than deflate of zeros."""
PANDAS_INDEX = "__index_level_"
"""How the columns begin that pandas adds for the index of a frame: they say nothing about a user."""

# A frame is its tag, its length and its content.
HEADER = struct.Struct("!cI")
SUMMARY, BATCH, TOO_LONG, NO_MEMORY, ERROR, END = b"S", b"B", b"L", b"M", b"E", b"Z"
SKIPPED = b"K"
"""Says that rows were skipped: skipping a million rows one by one takes longer than the parent waits for a sign of life."""
STARTED = b"+"
"""The first frame of the process, before it has looked at the file: without it, the file is not the reason for its end."""
ROWS = struct.Struct("!Q")

Frame: TypeAlias = tuple[bytes, bytes]


def frames(stream: IO[bytes], *, rows_at_a_time: int, skip: int) -> Iterator[Frame]:
    """Yield the summary (the number of rows and the schema), then the rows after the first ``skip``; only the summary if ``rows_at_a_time`` is 0.

    An error is a frame as well.
    """
    try:
        yield from _decoded(stream, rows_at_a_time, skip)
        yield END, b""
    except MemoryError:
        yield NO_MEMORY, b""
    except (pa.ArrowException, OSError, ValueError) as error:
        yield ERROR, str(error)[:LONGEST_ERROR].encode(errors="replace")


def _decoded(stream: IO[bytes], rows_at_a_time: int, skip: int) -> Iterator[Frame]:
    with pq.ParquetFile(stream, buffer_size=1 << 20, pre_buffer=False, page_checksum_verification=True) as file:
        yield SUMMARY, _summary(file, stream.seek(0, 2))
        columns = [name for name in file.schema_arrow.names if not name.startswith(PANDAS_INDEX)]
        if rows_at_a_time:
            for batch in _batches(file, columns, rows_at_a_time, skip):
                if batch.num_rows:
                    yield from _small_frames(plain_batch(batch))
                else:
                    yield SKIPPED, b""


def _summary(file: pq.ParquetFile, size: int) -> bytes:
    rows = file.metadata.num_rows
    if rows * BYTES_OF_AN_ID > size * MOST_FOR_A_BYTE:
        raise ValueError(f"it claims {rows:,} rows, and {size:,} bytes cannot hold as many different ids")
    schema = file.schema_arrow.remove_metadata().serialize().to_pybytes()
    if len(schema) > LARGEST_SCHEMA:
        raise ValueError(f"its list of columns is longer than {LARGEST_SCHEMA:,} bytes")
    return ROWS.pack(rows) + schema


def _batches(file: pq.ParquetFile, columns: list[str], rows_at_a_time: int, skip: int) -> Iterator[pa.RecordBatch]:
    """Read one row group after the other: Arrow cannot read a list of dictionary-encoded texts across two of them.

    A batch that is skipped is yielded without its rows.
    """
    left = file.metadata.num_rows
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if skip and skip >= rows:
            skip, left = skip - rows, left - rows
            continue
        for batch in file.iter_batches(rows_at_a_time, row_groups=[group], columns=columns, use_threads=False):
            left -= batch.num_rows
            if left < 0:
                raise ValueError(f"it has more rows than the {file.metadata.num_rows:,} that it claims")
            skipped, skip = min(skip, batch.num_rows), max(skip - batch.num_rows, 0)
            yield batch.slice(skipped)


def _small_frames(batch: pa.RecordBatch) -> Iterator[Frame]:
    """Yield the rows in batches of at most the size of a row; of a row that is longer, only its id."""
    if size_of(batch) <= LONGEST_ROW:
        yield BATCH, _serialized(batch)
    elif batch.num_rows == 1:
        yield TOO_LONG, _serialized(_id_of(batch))
    else:
        half = batch.num_rows // 2
        yield from _small_frames(batch.slice(0, half))
        yield from _small_frames(batch.slice(half))


def size_of(batch: pa.RecordBatch) -> int:
    """Return the bytes of the batch, with one for each null of a list of nulls, which has no bytes in Arrow."""
    columns: list[Any] = batch.columns
    nulls = sum(pc.sum(pc.list_value_length(column)).as_py() or 0 for column in columns if _is_list_of_nulls(column.type))
    return int(batch.nbytes + nulls)


def _is_list_of_nulls(kind: Any) -> bool:
    return pa.types.is_null(getattr(kind, "value_type", pa.bool_()))


def _id_of(batch: pa.RecordBatch) -> pa.RecordBatch:
    kept = [name for name in batch.schema.names if name == "user_id" and batch.column(name).nbytes <= LONGEST_ID_KEPT]
    return batch.select(kept)


def _serialized(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def plain_batch(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the batch without extension types, dictionaries and views, in which a few bytes can stand for many long values."""
    columns: list[Any] = [_plain(column) for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _plain(column: Any) -> Any:
    match column:
        case pa.ExtensionArray():
            return _plain(column.storage)
        case pa.DictionaryArray():
            return _plain(column.dictionary_decode())
        case pa.ListViewArray() | pa.LargeListViewArray():
            return _as_list(column)
        case pa.ListArray() | pa.LargeListArray() | pa.FixedSizeListArray() if not _is_plain(column.type.value_type):
            return _as_list(column)
    if pa.types.is_string_view(column.type):
        return column.cast(pa.large_string())
    return column.cast(pa.large_binary()) if pa.types.is_binary_view(column.type) else column


def _is_plain(kind: Any) -> bool:
    return not isinstance(kind, pa.DictionaryType) and not pa.types.is_string_view(kind) and not pa.types.is_binary_view(kind)


def _as_list(lists: Any) -> Any:
    """Return the lists with plain values. pyarrow 26 has no cast that does it: the one from views makes arrays that are not valid."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0).cast(pa.int64())
    offsets = pa.concat_arrays([pa.array([0], pa.int64()), pc.cumulative_sum(lengths)])
    return pa.LargeListArray.from_arrays(offsets, _plain(lists.flatten()), mask=lists.is_null())


def limit_memory() -> None:
    """Have the kernel refuse memory beyond the limit: an allocation then fails, which ends in a frame or ends the process."""
    statistics = Path("/proc/self/statm")
    if statistics.exists():
        data = int(statistics.read_text().split()[5]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_DATA, (data + MEMORY_LIMIT, data + MEMORY_LIMIT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    # Ctrl-C reaches the parent too, which ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    limit_memory()
    rows_at_a_time, skip = map(int, sys.argv[1:])
    _write(STARTED, b"")
    with open(0, "rb") as stream:  # a descriptor
        for tag, content in frames(stream, rows_at_a_time=rows_at_a_time, skip=skip):
            _write(tag, content)


def _write(tag: bytes, content: bytes) -> None:
    sys.stdout.buffer.write(HEADER.pack(tag, len(content)) + content)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
