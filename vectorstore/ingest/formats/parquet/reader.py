"""Read Parquet files with one column per field. A separate process decodes them, a few hundred rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from findme.core.errors import UserFacingError
from vectorstore.ingest.formats.input_file import no_rows
from vectorstore.ingest.formats.parquet.arrow import is_list, misfit, value_of
from vectorstore.ingest.formats.parquet.decoder import LONGEST_ROW, PANDAS_INDEX
from vectorstore.ingest.formats.parquet.process import LongRow, Summary, batches_of, summary_of
from vectorstore.ingest.formats.plain_json import plain_json
from vectorstore.ingest.rows import FIELDS, UNSET, BadRow, Entry, Kind, Rejection, entry
from vectorstore.models import VECTOR_SIZE
from vectorstore.projection.validation import truncated_repr
from vectorstore.projection.vectors import Reals, matrix

LONGEST_TYPE_NAME = 100


def check_parquet(path: Path) -> int:
    """Return the number of rows. Raises UserFacingError unless the file exists and its columns are the fields of a row."""
    return _checked(summary_of(path), path)


def read_parquet(path: Path, name: str) -> Iterator[Entry]:
    """Yield the rows of the file. Raises UserFacingError if it is damaged."""
    line = 1
    for answer in batches_of(path):
        match answer:
            case Summary():
                _checked(answer, path)
            case LongRow():
                reason = f"the row is longer than {LONGEST_ROW:,} bytes"
                yield Rejection(name, line, Kind.TOO_LONG, reason, partial(_as_given, answer.user_id, 0))
                line += 1
            case pa.RecordBatch():
                yield from _entries(name, line, answer)
                line += answer.num_rows


def _entries(name: str, line: int, batch: pa.RecordBatch) -> Iterator[Entry]:
    """Yield the rows. If each vector has 512 numbers, all are validated at once. Only a bad row is validated again alone, to find the reason."""
    size = batch.nbytes // max(batch.num_rows, 1)
    rounded, valid = _vectors(batch)
    others = batch.drop_columns(["vector"]) if any(valid) else batch
    for index in range(batch.num_rows):
        checked = rounded[index] if valid[index] else UNSET
        read = partial(_fields, others if valid[index] else batch, index)
        yield entry(name, line + index, read, partial(_as_given, batch, index), size, checked)


def _vectors(batch: pa.RecordBatch) -> tuple[Reals, list[bool]]:
    """Return the result of ``matrix``. If one vector of the column cannot be a matrix row, none is valid."""
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


def _checked(summary: Summary, path: Path) -> int:
    """Return the number of rows. Raises UserFacingError for a wrong column, and if there are no rows."""
    _check_columns(summary.schema, path)
    if not summary.rows:
        raise no_rows(str(path))
    return summary.rows


def _check_columns(schema: pa.Schema, path: Path) -> None:
    """Raise UserFacingError for an unknown or repeated column, and for a wrong type."""
    names = [name for name in schema.names if not name.startswith(PANDAS_INDEX)]
    for name in names:
        if name not in FIELDS or names.count(name) > 1:
            raise UserFacingError(
                f"{str(path)!r} has an unknown or repeated column {truncated_repr(name)}. Use only {', '.join(FIELDS)}, each once."
            )
        kind = schema.field(name).type
        if wanted := misfit(name, kind):
            raise UserFacingError(f"{str(path)!r}: the column {name!r} is {_type_name(kind)}. Write it as {wanted}.")
    if "user_id" not in names:
        raise UserFacingError(f"{str(path)!r} has no column 'user_id'. Add it.")


def _type_name(kind: pa.DataType) -> str:
    """Return the name of a type, truncated: that of a struct with many fields is long."""
    name = " ".join(str(kind).split())
    return name if len(name) <= LONGEST_TYPE_NAME else f"{name[:LONGEST_TYPE_NAME]}..."
