"""Rows give the same result as JSON Lines and as Parquet, in every type that pandas, polars and DuckDB write."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vectorstore.ingest.formats.json_lines import rows_of
from vectorstore.ingest.formats.parquet.process import ROWS_AT_A_TIME
from vectorstore.ingest.formats.parquet.reader import check_parquet, read_parquet
from vectorstore.ingest.rows import FIELDS, Entry, Row

pytestmark = pytest.mark.usefixtures("decoder_in_process")

ANNE = UUID("11111111-1111-4111-8111-111111111111")
VECTOR = [0.5, *range(1, 512)]

TEXTS = [
    pa.string(),
    pa.large_string(),
    pa.string_view(),
    pa.dictionary(pa.int32(), pa.string()),
    pa.dictionary(pa.uint8(), pa.large_string()),
    pa.binary(),
    pa.large_binary(),
    pa.binary_view(),
]
NUMBERS: list[Any] = [
    pa.float16(),
    pa.float32(),
    pa.float64(),
    pa.int16(),
    pa.int64(),
    pa.decimal32(9, 3),
    pa.decimal64(12, 3),
    pa.decimal128(12, 3),
    pa.decimal256(50, 3),
]
LISTS = [pa.list_, pa.large_list, pa.list_view, pa.large_list_view]


def content_of(entries: Iterable[Entry]) -> list[object]:
    """Return what is compared: the content of each row, or why it was rejected."""
    return [plain(entry) for entry in entries]


def plain(entry: Entry) -> object:
    if not isinstance(entry, Row):
        return entry.line, entry.kind, entry.reason
    values = [getattr(entry.content, name) for name in FIELDS]
    return entry.line, [value.tolist() if isinstance(value, np.ndarray) else value for value in values]


def by_json_lines(rows: Sequence[dict[str, Any]]) -> list[object]:
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    return content_of(rows_of(io.BytesIO(lines.encode()), "x"))


def by_parquet(folder: Path, columns: dict[str, Any], **options: Any) -> list[object]:
    path = folder / "x.parquet"
    pq.write_table(pa.table(columns), path, **options)
    check_parquet(path)
    entries = list(read_parquet(path, "x"))
    for entry in entries:
        json.dumps(entry.original(), allow_nan=False)
    return content_of(entries)


def by_pylist(rows: Sequence[dict[str, Any]], **kinds: Any) -> dict[str, Any]:
    """Return columns of the types ``kinds``. pyarrow infers the other types."""
    return {name: pa.array([row[name] for row in rows], kinds.get(name)) for name in rows[0]}


@pytest.mark.parametrize("field", ["vector", "location", "interests", "video_features"])
def test_read__column_of_nulls__equals_json_lines(tmp_path: Path, field: str) -> None:
    rows = [{"user_id": str(UUID(int=number + 1)), field: None} for number in range(3)]
    assert by_parquet(tmp_path, by_pylist(rows)) == by_json_lines(rows)


def test_read__user_ids_are_all_null__equals_json_lines(tmp_path: Path) -> None:
    rows = [{"user_id": None}]
    assert by_parquet(tmp_path, by_pylist(rows)) == by_json_lines(rows)


@pytest.mark.parametrize("field", ["vector", "interests", "video_features"])
@pytest.mark.parametrize("value", [[], [None]], ids=["empty", "null inside"])
@pytest.mark.parametrize("list_of", LISTS)
def test_read__lists_without_a_type__equals_json_lines(tmp_path: Path, field: str, value: list[None], list_of: Any) -> None:
    rows: list[dict[str, Any]] = [{"user_id": str(ANNE), field: value}, {"user_id": str(UUID(int=1)), field: None}]
    assert by_parquet(tmp_path, by_pylist(rows, **{field: list_of(pa.null())})) == by_json_lines(rows)


def test_read__location_of_nulls__equals_json_lines(tmp_path: Path) -> None:
    rows = [{"user_id": str(ANNE), "location": {"lat": None, "lon": None}}]
    assert by_parquet(tmp_path, by_pylist(rows)) == by_json_lines(rows)


@pytest.mark.parametrize("kind", TEXTS, ids=str)
def test_read__every_string_type__equals_json_lines(tmp_path: Path, kind: Any) -> None:
    """An interest of 16 bytes is a text, not a UUID."""
    rows: list[dict[str, Any]] = [
        {"user_id": str(ANNE), "interests": ["sea", "sixteen letters!", "caf\u00e9"]},
        {"user_id": UUID(int=5).hex, "interests": [""]},
        {"user_id": "invalid", "interests": None},
    ]
    encoded = pa.array([row["user_id"] for row in rows]).cast(kind)
    columns = {"user_id": encoded, "interests": pa.array([row["interests"] for row in rows], pa.list_(kind))}
    assert by_parquet(tmp_path, columns) == by_json_lines(rows)


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(16), pa.uuid()], ids=str)
def test_read__user_ids_of_16_bytes__equals_json_lines(tmp_path: Path, kind: Any) -> None:
    ids = [ANNE, UUID(int=3)]
    columns = {"user_id": pa.array([user_id.bytes for user_id in ids], kind)}
    assert by_parquet(tmp_path, columns) == by_json_lines([{"user_id": str(user_id)} for user_id in ids])


def test_read__dictionary_changes_between_row_groups__equals_json_lines(tmp_path: Path) -> None:
    ids = [str(UUID(int=number + 1)) for number in range(2 * ROWS_AT_A_TIME + 3)]
    interests = [[f"interest {number // 100}", "sea"] for number in range(len(ids))]
    chunks = [slice(start, start + 100) for start in range(0, len(ids), 100)]
    kind = pa.list_(pa.dictionary(pa.int32(), pa.string()))
    columns = {
        "user_id": pa.chunked_array([pa.array(ids[chunk]).dictionary_encode() for chunk in chunks]),
        "interests": pa.chunked_array([pa.array(interests[chunk], kind) for chunk in chunks]),
    }
    rows = [{"user_id": user_id, "interests": texts} for user_id, texts in zip(ids, interests, strict=True)]
    assert by_parquet(tmp_path, columns, row_group_size=70) == by_json_lines(rows)


@pytest.mark.parametrize("kind", NUMBERS, ids=str)
def test_read__coordinates_of_every_number_type__equals_json_lines(tmp_path: Path, kind: Any) -> None:
    places = [{"lat": 52, "lon": -13}, {"lat": 91, "lon": 0}, None, {"lat": None, "lon": 1}]
    rows = [{"user_id": str(UUID(int=number + 1)), "location": place} for number, place in enumerate(places)]
    location = pa.struct([("lat", kind), ("lon", kind)])
    found = by_parquet(tmp_path, by_pylist(rows, location=location))
    assert [one[1:] for one in found] == [one[1:] for one in by_json_lines(as_written(rows, kind))]  # type: ignore[index]


def as_written(rows: Sequence[dict[str, Any]], kind: pa.DataType) -> list[dict[str, Any]]:
    """Return the rows as JSON Lines has them. Types with decimals give ``91.0``, which messages show."""
    if pa.types.is_integer(kind):
        return list(rows)
    return [
        {**row, "location": row["location"] and {key: value and float(value) for key, value in row["location"].items()}} for row in rows
    ]


def test_read__coordinates_of_many_digits__equals_json_lines(tmp_path: Path) -> None:
    place = {"lat": Decimal("52.52000659999999987654321"), "lon": Decimal("13.40495400000000000000001")}
    kind = pa.decimal128(30, 23)
    columns = {"user_id": [str(ANNE)], "location": pa.array([place], pa.struct([("lat", kind), ("lon", kind)]))}
    line = f'{{"user_id": "{ANNE}", "location": {{"lat": {place["lat"]}, "lon": {place["lon"]}}}}}\n'
    assert by_parquet(tmp_path, columns) == content_of(rows_of(io.BytesIO(line.encode()), "x"))


@pytest.mark.parametrize("kind", [*NUMBERS, pa.uint64()], ids=str)
@pytest.mark.parametrize("list_of", [*LISTS, lambda kind: pa.list_(kind, 512)], ids=["list", "large", "view", "large view", "fixed size"])
def test_read__vectors_of_every_type__equals_json_lines(tmp_path: Path, kind: Any, list_of: Any) -> None:
    vectors = [[*range(512)], [0] * 512, None, [7] * 511 + [None]]
    rows = [{"user_id": str(UUID(int=number + 1)), "vector": vector} for number, vector in enumerate(vectors)]
    assert by_parquet(tmp_path, by_pylist(rows, vector=list_of(kind))) == by_json_lines(rows)


def test_read__numbers_beyond_32_bits__are_rounded_once(tmp_path: Path) -> None:
    """2**60 + 2**36 + 1 is just above the middle of two 32-bit numbers. Rounded to 64 bits first, it is exactly the middle."""
    rows = [{"user_id": str(ANNE), "vector": [2**60 + 2**36 + 1] * 512}]
    assert by_parquet(tmp_path, by_pylist(rows)) == by_json_lines(rows)


def test_read__extension_type__equals_json_lines(tmp_path: Path) -> None:
    columns = {"user_id": pa.array([str(ANNE)], pa.json_())}
    assert by_parquet(tmp_path, columns) == by_json_lines([{"user_id": str(ANNE)}])


EIGHTHS = st.integers(-8 * 200, 8 * 200).map(lambda number: number / 8)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "user_id": st.uuids().map(str) | st.uuids().map(lambda user_id: user_id.hex.upper()) | st.just("x") | st.none(),
            "vector": st.none() | st.just(VECTOR) | st.lists(EIGHTHS | st.none(), max_size=3),
            "location": st.none() | st.fixed_dictionaries({"lat": EIGHTHS | st.none(), "lon": EIGHTHS}),
            "interests": st.none() | st.lists(st.sampled_from(["sea", " sea ", "cafe\u0301", "", "\t", "0123456789abcdef"]) | st.none()),
            "video_features": st.none() | st.lists(EIGHTHS | st.none(), max_size=3),
        }
    ).map(lambda row: {name: row[name] for name in FIELDS}),  # the message names the first of two errors in a row
    min_size=1,
    max_size=5,
)


def with_decimals(value: Any) -> Any:
    """Return the value with numbers that Arrow accepts for a decimal column."""
    match value:
        case float():
            return Decimal(value)
        case list():
            return [with_decimals(inner) for inner in value]
        case dict():
            return {key: with_decimals(inner) for key, inner in value.items()}
    return value


FRACTIONS = [kind for kind in NUMBERS if not pa.types.is_integer(kind)]


@given(rows=ROWS, text=st.sampled_from(TEXTS), number=st.sampled_from(FRACTIONS), list_of=st.sampled_from(LISTS))
def test_read__any_rows_in_any_types__equals_json_lines(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], text: Any, number: Any, list_of: Any
) -> None:
    columns = by_pylist(
        with_decimals(rows) if pa.types.is_decimal(number) else rows,
        vector=list_of(number),
        location=pa.struct([("lat", number), ("lon", number)]),
        interests=list_of(text),
        video_features=list_of(number),
    )
    columns["user_id"] = columns["user_id"].cast(pa.string()).cast(text)
    assert by_parquet(tmp_path_factory.mktemp("parquet"), columns) == by_json_lines(rows)


@given(rows=ROWS)
def test_read__any_rows_in_inferred_types__equals_json_lines(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]) -> None:
    """As in pandas and polars, the types follow from the values. A column without a value has the type ``null``."""
    assert by_parquet(tmp_path_factory.mktemp("parquet"), by_pylist(rows)) == by_json_lines(rows)
