"""Parquet: columns named like the fields, read in batches of a few hundred rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from findme.console.errors import NotDone
from vectorstore.ingest.arrow import is_list, misfit, value_of, without_extensions
from vectorstore.ingest.plain_json import plain_json
from vectorstore.ingest.reading import no_rows, opened, reading
from vectorstore.ingest.rows import FIELDS, UNSET, BadRow, Entry, entry
from vectorstore.models import VECTOR_SIZE
from vectorstore.vectors import Reals, matrix

ROWS_AT_A_TIME = 256
PANDAS_INDEX = "__index_level_"
"""How the columns begin that pandas adds for the index of a frame: they say nothing about a person."""


def check_parquet(path: Path) -> int:
    """How many rows the file has. Raises NotDone unless it is there and its columns are those of a row."""
    with _opened(path) as (file, _):
        return file.metadata.num_rows


def read_parquet(path: Path, name: str) -> Iterator[Entry]:
    """The rows of the file. Raises NotDone where it is damaged."""
    with _opened(path) as (file, columns):
        line = 1
        for batch in _batches(file, columns):
            yield from _entries(name, line, batch)
            line += batch.num_rows


def _batches(file: pq.ParquetFile, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Row group by row group: Arrow cannot read a list of dictionary-encoded texts across two of them."""
    for group in range(file.num_row_groups):
        for batch in file.iter_batches(ROWS_AT_A_TIME, row_groups=[group], columns=columns, use_threads=False):
            yield without_extensions(batch)


def _entries(name: str, line: int, batch: pa.RecordBatch) -> Iterator[Entry]:
    """The vectors are checked all at once where each has 512 numbers; what is bad is looked at by itself, for the reason."""
    size = batch.nbytes // max(batch.num_rows, 1)
    rounded, sound = _vectors(batch)
    others = batch.drop_columns(["vector"]) if any(sound) else batch
    for index in range(batch.num_rows):
        checked = rounded[index] if sound[index] else UNSET
        read = partial(_fields, others if sound[index] else batch, index)
        yield entry(name, line + index, read, partial(_as_given, batch, index), size, checked)


def _vectors(batch: pa.RecordBatch) -> tuple[Reals, list[bool]]:
    """As ``matrix`` gives them; none is sound where one of the column cannot stand in a row of a matrix."""
    none = np.empty((batch.num_rows, 0), np.float32), [False] * batch.num_rows
    if "vector" not in batch.schema.names:
        return none
    column: Any = batch.column("vector")
    if not is_list(column.type):
        return none
    numbers = column.flatten()
    if column.null_count or numbers.null_count or not pa.types.is_floating(numbers.type) or not _all_of_size(column):
        return none
    return matrix(numbers.to_numpy(zero_copy_only=False).reshape(batch.num_rows, VECTOR_SIZE))


def _all_of_size(lists: Any) -> bool:
    return {*lists.value_lengths().to_pylist()} == {VECTOR_SIZE}


def _fields(batch: pa.RecordBatch, index: int) -> Mapping[str, object]:
    return {name: value_of(name, column[index]) for name, column in zip(batch.schema.names, batch.columns, strict=True)}


def _as_given(batch: pa.RecordBatch, index: int) -> object:
    return {name: _printable(name, column[index]) for name, column in zip(batch.schema.names, batch.columns, strict=True)}


def _printable(name: str, scalar: Any) -> object:
    try:
        return plain_json(value_of(name, scalar))
    except BadRow:
        return "not UTF-8"


@contextmanager
def _opened(path: Path) -> Iterator[tuple[pq.ParquetFile, list[str]]]:
    with opened(path) as stream, _damage_of(path), pq.ParquetFile(stream, buffer_size=1 << 20, pre_buffer=False) as file:
        columns = _columns(file.schema_arrow, path)
        if not file.metadata.num_rows:
            raise no_rows(str(path))
        yield file, columns


def _columns(schema: pa.Schema, path: Path) -> list[str]:
    """The columns to read. Raises NotDone for one that a row does not have, or of another type."""
    names = [name for name in schema.names if not name.startswith(PANDAS_INDEX)]
    for name in names:
        if name not in FIELDS or names.count(name) > 1:
            raise NotDone(f"{str(path)!r} has the column {name!r}: it may have {', '.join(FIELDS)}, each once, and no other.")
        kind = schema.field(name).type
        if wanted := misfit(name, kind):
            raise NotDone(f"{str(path)!r}: the column {name!r} is {kind}, and must be {wanted}.")
    if "user_id" not in names:
        raise NotDone(f"{str(path)!r} has no column 'user_id'.")
    return names


@contextmanager
def _damage_of(path: Path) -> Iterator[None]:
    try:
        with reading(str(path)):
            yield
    except (pa.ArrowException, ValueError) as error:
        raise NotDone(f"{str(path)!r} is damaged, or is no Parquet file: {error}") from error
