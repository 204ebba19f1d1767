"""How much of rejected rows a rejects file keeps."""

from __future__ import annotations

import json
from typing import Any

import pytest

from vectorstore.ingest import rejected_lines
from vectorstore.ingest.rejected_lines import LONGEST_LINE, RejectedLines, Written
from vectorstore.ingest.rows import Kind, Rejection

ANNE = "11111111-1111-4111-8111-111111111111"


def rejection(row: object, line: int = 1, file: str = "x.parquet") -> Rejection:
    return Rejection(file, line, Kind.BAD_VECTOR, "vector number 1 is NaN", lambda: row)


def written(lines: RejectedLines, row: object, line: int = 1, file: str = "x.parquet") -> tuple[Any, Written]:
    text, kept = lines.line(rejection(row, line, file))
    if not text:
        return None, kept
    assert text.endswith(b"\n") and rejected_lines.is_rejection(text)
    fields = json.loads(text)
    assert (fields["file"], fields["line"], fields["reason"]) == (file, line, "vector number 1 is NaN")
    return fields["row"], kept


@pytest.mark.parametrize(
    ("row", "kept"),
    [
        ({"user_id": "é" * 900_000}, {"shortened": True, "user_id": "é" * 100}),
        ({"user_id": ANNE, "vector": [0.5] * 100_000}, {"shortened": True, "user_id": ANNE}),
        ({"vector": [0.5] * 100_000}, {"shortened": True}),
        ({"user_id": [1] * 100_000}, {"shortened": True, "user_id": "[1, 1, 1, ...]"}),
        ("{" * 900_000, {"shortened": True, "text": "{" * 1000}),
        ([[]] * 100_000, {"shortened": True, "text": json.dumps([[]] * 1000)[:1000]}),
    ],
)
def test_line__row_of_hundreds_of_kilobytes(row: object, kept: object) -> None:
    """In an input of any size, and it takes no room from the others."""
    for sizes in ({}, {"x.parquet": 10 << 30}):
        lines = RejectedLines(sizes)
        assert written(lines, row) == (kept, Written.SHORTENED)
        assert written(lines, {"user_id": ANNE}) == ({"user_id": ANNE}, Written.WHOLE)


def test_line__row_with_everything_that_it_may_have_is_whole() -> None:
    row = {
        "user_id": ANNE,
        "vector": [-1.1754943508222875e-38] * 512,
        "location": {"lat": -1.1754943508222875e-38, "lon": -1.1754943508222875e-38},
        "interests": ["\U0001f3d6" * 100] * 100,
        "video_features": [-1.1754943508222875e-38] * 1024,
    }
    assert written(RejectedLines({}), row) == (row, Written.WHOLE)
    assert len(json.dumps(row)) < LONGEST_LINE


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> None:
    """An input of 100 bytes has room for 4,500 bytes of whole rows, and then for 1,500 of shortened ones."""
    for name, size in (("SPACE", 4000), ("SPACE_PER_BYTE", 5), ("SHORT_SPACE", 1000), ("SHORT_SPACE_PER_BYTE", 5)):
        monkeypatch.setattr(rejected_lines, name, size)


@pytest.mark.usefixtures("room")
def test_line__many_rows() -> None:
    """First whole, then shortened, then none. What is written is within the limit, but for the line that says that rows are left out."""
    lines, row = RejectedLines({"x.parquet": 100}), {"user_id": ANNE, "vector": [0.5] * 200}
    found = [written(lines, row, number) for number in range(1, 101)]
    kinds = [kept for _, kept in found]
    assert kinds == sorted(kinds, key=lambda kept: kept.value)
    assert [kinds.count(kept) for kept in Written] == [3, 10, 87]
    assert found[2][0] == row and found[3][0] == {"shortened": True, "user_id": ANNE}
    assert [content for content, kept in found if kept is Written.OMITTED and content is not None] == [
        {"omitted": "this row and every later one of this input"}
    ]
    lines = RejectedLines({"x.parquet": 100})
    sizes = [len(text) for text, kept in (lines.line(rejection(row)) for _ in range(100)) if kept is not Written.OMITTED]
    assert 4800 < sum(sizes) <= 6000


@pytest.mark.usefixtures("room")
def test_line__each_input_has_its_own_room() -> None:
    lines, row = RejectedLines({"x.parquet": 100, "y.parquet": 0}), {"user_id": ANNE, "vector": [0.5] * 200}
    assert [written(lines, row)[1] for _ in range(100)][-1] is Written.OMITTED
    assert written(lines, row, file="y.parquet") == (row, Written.WHOLE)
    assert {written(lines, row, file="-")[1] for _ in range(100)} == {Written.WHOLE}


@pytest.mark.usefixtures("room")
def test_line__small_row_is_never_made_longer() -> None:
    lines = RejectedLines({"x.parquet": 100})
    while written(lines, {"user_id": ANNE, "vector": [0.5] * 200})[1] is Written.WHOLE:
        pass
    assert written(lines, {"user_id": "x"}) == ({"user_id": "x"}, Written.WHOLE)


@pytest.mark.usefixtures("room")
def test_line__row_that_is_left_out_is_not_made() -> None:
    lines = RejectedLines({"x.parquet": 100})
    while written(lines, {"user_id": ANNE, "vector": [0.5] * 200})[1] is not Written.OMITTED:
        pass

    def fail() -> object:
        raise AssertionError("it was made")

    assert lines.line(Rejection("x.parquet", 1, Kind.BAD_VECTOR, "x", fail)) == (b"", Written.OMITTED)
