"""Program that decodes a Parquet file in a separate process with a memory limit.

997 bytes can decode to gigabytes, and pyarrow has no option that limits it. The file is standard input. The result goes to standard output in
frames. Only the parent process (``process``) starts this program. It imports pyarrow but not Django, so it starts in a quarter of a second.
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
"""In bytes, on top of the memory at the start. Together with the process itself (65 MB) and its parent, 256 MiB are never reached."""
LONGEST_ROW = 1 << 20
"""In bytes, in Arrow's memory format. A line of JSON Lines has the same limit."""
LONGEST_ID = 1000
LARGEST_SCHEMA = 1 << 16
LONGEST_ERROR = 500
ID_SIZE = 16
MAX_EXPANSION = 1032
"""Maximum decoded bytes per byte of the file. Ids are distinct, so no codec compresses them better than deflate compresses zeros."""
PANDAS_INDEX = "__index_level_"
"""Prefix of the columns that pandas adds for the index of a frame. They contain no data of a user."""

# A frame is its tag, its length and its content.
HEADER = struct.Struct("!cI")
SUMMARY, BATCH, TOO_LONG, NO_MEMORY, ERROR, END = b"S", b"B", b"L", b"M", b"E", b"Z"
SKIPPED = b"K"
"""Rows were skipped. Without this frame, the parent's timeout would pass while a million rows are skipped one by one."""
STARTED = b"+"
"""The first frame, sent before the file is read. If it is missing, the process did not fail because of the file."""
ROWS = struct.Struct("!Q")

Frame: TypeAlias = tuple[bytes, bytes]


def frames(stream: IO[bytes], *, rows_at_a_time: int, skip: int) -> Iterator[Frame]:
    """Yield the summary (number of rows and schema), then the rows after the first ``skip``.

    With ``rows_at_a_time`` 0, yield only the summary. An error is a frame too.
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
    if rows * ID_SIZE > size * MAX_EXPANSION:
        raise ValueError(f"it claims {rows:,} rows, but {size:,} bytes cannot contain so many distinct ids")
    schema = file.schema_arrow.remove_metadata().serialize().to_pybytes()
    if len(schema) > LARGEST_SCHEMA:
        raise ValueError(f"its list of columns is longer than {LARGEST_SCHEMA:,} bytes")
    return ROWS.pack(rows) + schema


def _batches(file: pq.ParquetFile, columns: list[str], rows_at_a_time: int, skip: int) -> Iterator[pa.RecordBatch]:
    """Yield batches, one row group after another. Arrow cannot read a list of dictionary-encoded texts across two groups.

    A skipped batch is yielded without its rows.
    """
    remaining = file.metadata.num_rows
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if skip and skip >= rows:
            skip, remaining = skip - rows, remaining - rows
            continue
        for batch in file.iter_batches(rows_at_a_time, row_groups=[group], columns=columns, use_threads=False):
            remaining -= batch.num_rows
            if remaining < 0:
                raise ValueError(f"it has more than the {file.metadata.num_rows:,} rows that it claims")
            skipped, skip = min(skip, batch.num_rows), max(skip - batch.num_rows, 0)
            yield batch.slice(skipped)


def _small_frames(batch: pa.RecordBatch) -> Iterator[Frame]:
    """Yield the rows in frames of at most ``LONGEST_ROW`` bytes. For a longer row, yield only its id."""
    if size_of(batch) <= LONGEST_ROW:
        yield BATCH, _serialized(batch)
    elif batch.num_rows == 1:
        yield TOO_LONG, _serialized(_id_of(batch))
    else:
        half = batch.num_rows // 2
        yield from _small_frames(batch.slice(0, half))
        yield from _small_frames(batch.slice(half))


def size_of(batch: pa.RecordBatch) -> int:
    """Return the size of the batch in bytes. A null in a list of nulls, which takes no bytes in Arrow, counts as one."""
    columns: list[Any] = batch.columns
    nulls = sum(pc.sum(pc.list_value_length(column)).as_py() or 0 for column in columns if _is_list_of_nulls(column.type))
    return int(batch.nbytes + nulls)


def _is_list_of_nulls(kind: Any) -> bool:
    return pa.types.is_null(getattr(kind, "value_type", pa.bool_()))


def _id_of(batch: pa.RecordBatch) -> pa.RecordBatch:
    columns = [name for name in batch.schema.names if name == "user_id" and batch.column(name).nbytes <= LONGEST_ID]
    return batch.select(columns)


def _serialized(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def plain_batch(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the batch without extension types, dictionaries and views. In those, a few bytes can represent many long values."""
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
    """Return the lists with plain values. pyarrow 26 has no working cast: the cast from views creates invalid arrays."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0).cast(pa.int64())
    offsets = pa.concat_arrays([pa.array([0], pa.int64()), pc.cumulative_sum(lengths)])
    return pa.LargeListArray.from_arrays(offsets, _plain(lists.flatten()), mask=lists.is_null())


def limit_memory() -> None:
    """Make the kernel refuse memory beyond the limit. A failed allocation then sends an error frame or ends the process."""
    statistics = Path("/proc/self/statm")
    if statistics.exists():
        data = int(statistics.read_text().split()[5]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_DATA, (data + MEMORY_LIMIT, data + MEMORY_LIMIT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    # The parent receives Ctrl-C too, and ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    limit_memory()
    rows_at_a_time, skip = map(int, sys.argv[1:])
    _write(STARTED, b"")
    with open(0, "rb") as stream:  # 0 is the file descriptor of standard input.
        for tag, content in frames(stream, rows_at_a_time=rows_at_a_time, skip=skip):
            _write(tag, content)


def _write(tag: bytes, content: bytes) -> None:
    sys.stdout.buffer.write(HEADER.pack(tag, len(content)) + content)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
