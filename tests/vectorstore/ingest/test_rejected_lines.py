"""How much of the rejected rows a rejects file keeps."""

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


def write_row(lines: RejectedLines, row: object, line: int = 1, file: str = "x.parquet") -> tuple[Any, Written]:
    text, outcome = lines.line(rejection(row, line, file))
    if not text:
        return None, outcome
    assert text.endswith(b"\n") and rejected_lines.is_rejection(text)
    fields = json.loads(text)
    assert (fields["file"], fields["line"], fields["reason"]) == (file, line, "vector number 1 is NaN")
    return fields["row"], outcome


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"user_id": "é" * 900_000}, {"shortened": True, "user_id": "é" * 100}),
        ({"user_id": ANNE, "vector": [0.5] * 100_000}, {"shortened": True, "user_id": ANNE}),
        ({"vector": [0.5] * 100_000}, {"shortened": True}),
        ({"user_id": [1] * 100_000}, {"shortened": True, "user_id": "[1, 1, 1, ...]"}),
        ("{" * 900_000, {"shortened": True, "text": "{" * 1000}),
        ([[]] * 100_000, {"shortened": True, "text": json.dumps([[]] * 1000)[:1000]}),
    ],
)
def test_line__huge_row__is_shortened(row: object, expected: object) -> None:
    """This does not depend on the size of the input, and leaves the limit for other rows unchanged."""
    for sizes in ({}, {"x.parquet": 10 << 30}):
        lines = RejectedLines(sizes)
        assert write_row(lines, row) == (expected, Written.SHORTENED)
        assert write_row(lines, {"user_id": ANNE}) == ({"user_id": ANNE}, Written.WHOLE)


def test_line__largest_valid_row__is_whole() -> None:
    row = {
        "user_id": ANNE,
        "vector": [-1.1754943508222875e-38] * 512,
        "location": {"lat": -1.1754943508222875e-38, "lon": -1.1754943508222875e-38},
        "interests": ["\U0001f3d6" * 100] * 100,
        "video_features": [-1.1754943508222875e-38] * 1024,
    }
    assert write_row(RejectedLines({}), row) == (row, Written.WHOLE)
    assert len(json.dumps(row)) < LONGEST_LINE


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the limits for an input of 100 bytes: 4,500 bytes of whole rows, then 1,500 bytes of shortened ones."""
    for name, size in (("SPACE", 4000), ("SPACE_PER_BYTE", 5), ("SHORT_SPACE", 1000), ("SHORT_SPACE_PER_BYTE", 5)):
        monkeypatch.setattr(rejected_lines, name, size)


@pytest.mark.usefixtures("small_limits")
def test_line__many_rows__are_whole_then_shortened_then_omitted() -> None:
    """The output stays within the limit, without the line which says that rows are omitted."""
    lines, row = RejectedLines({"x.parquet": 100}), {"user_id": ANNE, "vector": [0.5] * 200}
    found = [write_row(lines, row, number) for number in range(1, 101)]
    kinds = [outcome for _, outcome in found]
    assert kinds == sorted(kinds, key=lambda outcome: outcome.value)
    assert [kinds.count(outcome) for outcome in Written] == [3, 10, 87]
    assert found[2][0] == row and found[3][0] == {"shortened": True, "user_id": ANNE}
    assert [content for content, outcome in found if outcome is Written.OMITTED and content is not None] == [
        {"omitted": "this row and every later one of this input"}
    ]
    lines = RejectedLines({"x.parquet": 100})
    sizes = [len(text) for text, outcome in (lines.line(rejection(row)) for _ in range(100)) if outcome is not Written.OMITTED]
    assert 4800 < sum(sizes) <= 6000


@pytest.mark.usefixtures("small_limits")
def test_line__several_inputs__have_separate_limits() -> None:
    lines, row = RejectedLines({"x.parquet": 100, "y.parquet": 0}), {"user_id": ANNE, "vector": [0.5] * 200}
    assert [write_row(lines, row)[1] for _ in range(100)][-1] is Written.OMITTED
    assert write_row(lines, row, file="y.parquet") == (row, Written.WHOLE)
    assert {write_row(lines, row, file="-")[1] for _ in range(100)} == {Written.WHOLE}


@pytest.mark.usefixtures("small_limits")
def test_line__small_row__is_never_made_longer() -> None:
    lines = RejectedLines({"x.parquet": 100})
    while write_row(lines, {"user_id": ANNE, "vector": [0.5] * 200})[1] is Written.WHOLE:
        pass
    assert write_row(lines, {"user_id": "x"}) == ({"user_id": "x"}, Written.WHOLE)


@pytest.mark.usefixtures("small_limits")
def test_line__omitted_row__is_not_built() -> None:
    lines = RejectedLines({"x.parquet": 100})
    while write_row(lines, {"user_id": ANNE, "vector": [0.5] * 200})[1] is not Written.OMITTED:
        pass

    def fail() -> object:
        raise AssertionError("the row was built")

    assert lines.line(Rejection("x.parquet", 1, Kind.BAD_VECTOR, "x", fail)) == (b"", Written.OMITTED)
