"""Reading Parquet files."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from findme.core.errors import UserFacingError
from tests.vectorstore.ingest.inputs import file_error
from vectorstore.ingest.formats.parquet.process import ROWS_AT_A_TIME
from vectorstore.ingest.formats.parquet.reader import check_parquet, read_parquet
from vectorstore.ingest.rows import UNSET, Entry, Kind, Rejection, Row

pytestmark = pytest.mark.usefixtures("decoder_in_process")

ANNE = UUID("11111111-1111-4111-8111-111111111111")
ONES = [1.0] * 512
LOCATION = pa.struct([("lat", pa.float64()), ("lon", pa.float64())])

refusal = partial(file_error, check_parquet)


def save(folder: Path, columns: dict[str, Any], **options: Any) -> Path:
    path = folder / "x.parquet"
    pq.write_table(pa.table(columns), path, **options)
    return path


def read(folder: Path, columns: dict[str, Any]) -> list[Entry]:
    path = save(folder, columns)
    check_parquet(path)
    return list(read_parquet(path, "x.parquet"))


def test_read__every_field__is_read(tmp_path: Path) -> None:
    columns = {
        "user_id": [str(ANNE), str(UUID(int=2))],
        "vector": pa.array([ONES, [2.0] * 512], pa.list_(pa.float32())),
        "location": pa.array([{"lat": 52.5, "lon": 13.4}, None], LOCATION),
        "interests": pa.array([["sea"], None], pa.list_(pa.string())),
        "video_features": pa.array([[0.5], None], pa.list_(pa.float64())),
    }
    first, second = read(tmp_path, columns)
    assert isinstance(first, Row) and isinstance(second, Row)
    assert (first.line, first.content.user_id, first.content.location, first.content.interests) == (1, ANNE, (52.5, 13.4), ("sea",))
    assert first.content.vector is not UNSET and first.content.vector.tolist() == ONES
    assert first.content.video_features is not UNSET and first.content.video_features is not None
    assert first.content.video_features.tolist() == [0.5]
    assert (second.content.location, second.content.interests, second.content.video_features) == (None, (), None)


def test_read__omitted_columns__are_unset(tmp_path: Path) -> None:
    (row,) = read(tmp_path, {"user_id": [str(ANNE)]})
    assert isinstance(row, Row)
    assert {row.content.vector, row.content.location, row.content.interests, row.content.video_features} == {UNSET}


def test_read__many_row_groups__come_in_order(tmp_path: Path) -> None:
    count = 2 * ROWS_AT_A_TIME + 5
    path = save(tmp_path, {"user_id": [str(UUID(int=number)) for number in range(count)]}, row_group_size=100)
    assert check_parquet(path) == count
    rows = [row for row in read_parquet(path, "x") if isinstance(row, Row)]
    assert [row.content.user_id.int for row in rows] == list(range(count))
    assert [row.line for row in rows] == list(range(1, count + 1))


@pytest.mark.parametrize(
    "user_ids",
    [
        pa.array([str(ANNE)], pa.large_string()),
        pa.array([str(ANNE)]).dictionary_encode(),
        pa.array([ANNE.bytes], pa.binary(16)),
        pa.array([ANNE.bytes], pa.uuid()),
    ],
    ids=["large_string", "dictionary", "16 bytes", "uuid"],
)
def test_read__uuid_in_another_type__is_read(tmp_path: Path, user_ids: Any) -> None:
    (row,) = read(tmp_path, {"user_id": user_ids})
    assert isinstance(row, Row) and row.content.user_id == ANNE


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.float16()), pa.large_list(pa.float64()), pa.list_(pa.float32(), 512), pa.list_(pa.int32())], ids=str
)
def test_read__vector_in_another_type__is_read(tmp_path: Path, kind: Any) -> None:
    (row,) = read(tmp_path, {"user_id": [str(ANNE)], "vector": pa.array([ONES], kind)})
    assert isinstance(row, Row) and row.content.vector is not UNSET and row.content.vector.tolist() == ONES


def test_read__pandas_index__is_ignored(tmp_path: Path) -> None:
    (row,) = read(tmp_path, {"user_id": [str(ANNE)], "__index_level_0__": [7]})
    assert isinstance(row, Row)


def test_read__vectors_checked_together__give_the_same_reasons(tmp_path: Path) -> None:
    """Vectors of 512 numbers are checked together. A bad one is then checked alone, for its reason."""
    vectors = [[1.0] * 512, [0.0] * 512, [2.0] * 511 + [float("nan")], [3.0] * 512]
    columns = {"user_id": [str(UUID(int=number)) for number in range(3)] + ["x"], "vector": vectors, "interests": [["sea"]] * 4}
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table(columns), path)
    first, *rest = read_parquet(path, "x")
    assert isinstance(first, Row) and first.content.interests == ("sea",)
    assert first.content.vector is not UNSET and first.content.vector.tolist() == vectors[0]
    assert [entry.reason for entry in rest if isinstance(entry, Rejection)] == [
        "vector is all zeros as 32-bit numbers: it has no direction",
        "vector number 512 is NaN",
        "user_id is not a UUID: 'x'",
    ]


def test_read__bad_rows__are_rejected(tmp_path: Path) -> None:
    vectors = [ONES, [1.0], None, [float("nan"), *ONES[1:]], [None, *ONES[1:]], ONES, ONES]
    locations = [None, None, None, None, None, {"lat": 91, "lon": 0}, {"lat": None, "lon": 0}]
    columns = {
        "user_id": [str(UUID(int=number)) for number in range(len(vectors))],
        "vector": pa.array(vectors, pa.list_(pa.float32())),
        "location": pa.array(locations, LOCATION),
    }
    found = read(tmp_path, columns)
    assert isinstance(found[0], Row)
    rejections = [entry for entry in found[1:] if isinstance(entry, Rejection)]
    assert [(entry.line, entry.kind, entry.reason) for entry in rejections] == [
        (2, Kind.BAD_VECTOR, "vector has 1 number, and must have 512"),
        (3, Kind.BAD_VECTOR, "vector is null: omit it to keep the stored one"),
        (4, Kind.BAD_VECTOR, "vector number 1 is NaN"),
        (5, Kind.BAD_VECTOR, "vector number 1 is not a number: null"),
        (6, Kind.BAD_LOCATION, "lat is 91.0, and must be from -90 to 90"),
        (7, Kind.BAD_LOCATION, "lat is not a number: null"),
    ]
    assert rejections[0].original() == {"user_id": str(UUID(int=1)), "vector": [1.0], "location": None}
    for rejection in rejections:
        json.dumps(rejection.original(), allow_nan=False)


def test_read__rejected_row__keeps_its_uuid_as_text(tmp_path: Path) -> None:
    (found,) = read(tmp_path, {"user_id": pa.array([ANNE.bytes], pa.uuid()), "vector": [[-math.inf]]})
    assert isinstance(found, Rejection)
    assert found.original() == {"user_id": str(ANNE), "vector": ["-Infinity"]}


def test_read__text_is_not_utf8__is_rejected(tmp_path: Path) -> None:
    broken = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")])
    (found,) = read(tmp_path, {"user_id": broken})
    assert isinstance(found, Rejection)
    assert (found.kind, found.reason, found.original()) == (Kind.BAD_USER_ID, "user_id is not UTF-8", {"user_id": "not UTF-8"})


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"vector": [ONES]}, "FILE has no column 'user_id'. Add it."),
        (
            {"user_id": ["x"], "name": ["Anne"]},
            "FILE has an unknown or repeated column 'name'. Use only user_id, vector, location, interests, video_features, each once.",
        ),
        ({"user_id": [1]}, "FILE: the column 'user_id' is int64. Write it as a text, 16 bytes or a UUID."),
        ({"user_id": ["x"], "vector": ["[1]"]}, "FILE: the column 'vector' is string. Write it as a list of numbers."),
        ({"user_id": ["x"], "vector": [[True]]}, "FILE: the column 'vector' is list<element: bool>. Write it as a list of numbers."),
        (
            {"user_id": ["x"], "location": [{"lat": 1.0}]},
            "FILE: the column 'location' is struct<lat: double>. Write it as a struct of the numbers lat and lon.",
        ),
        ({"user_id": ["x"], "interests": [[1]]}, "FILE: the column 'interests' is list<element: int64>. Write it as a list of texts."),
        ({"user_id": pa.array([], pa.string())}, "FILE contains no rows. Check the job that writes it."),
    ],
)
def test_check__unusable_columns__are_refused(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    assert refusal(save(tmp_path, columns)) == message


def test_check__repeated_column__is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table([["a"], ["b"]], names=["user_id", "user_id"]), path)
    assert refusal(path).startswith("FILE has an unknown or repeated column 'user_id'. Use only user_id,")


def test_check__not_a_parquet_file__is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(b"")
    assert refusal(path) == "FILE is damaged or not a Parquet file: Parquet file size is 0 bytes"


def test_check__missing_file__is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.parquet") == "FILE cannot be read: No such file or directory"


@given(cut=st.floats(0, 1), flips=st.lists(st.tuples(st.floats(0, 0.999), st.integers(1, 255)), max_size=3))
def test_read__file_damaged_anywhere__raises_no_other_error(
    tmp_path_factory: pytest.TempPathFactory, cut: float, flips: list[tuple[float, int]]
) -> None:
    """The result is rows, rejections or one line."""
    columns = {"user_id": [str(ANNE)], "vector": pa.array([ONES], pa.list_(pa.float32())), "interests": [["sea"]]}
    path = save(tmp_path_factory.mktemp("parquet"), columns)
    content = bytearray(path.read_bytes())
    for place, change in flips:
        content[int(place * len(content))] ^= change
    path.write_bytes(content[: int(cut * len(content)) + 1])
    with suppress(UserFacingError):
        check_parquet(path)
        for entry in read_parquet(path, "x"):
            json.dumps(entry.original(), allow_nan=False)
