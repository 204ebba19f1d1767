"""JSON Lines: rows and rejections. No content of a file stops the reader."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from findme.core.errors import UserFacingError
from vectorstore.ingest.formats.json_lines import (
    BYTE_ORDER_MARK,
    LONGEST_LINE,
    SHOWN_OF_LONG_LINE,
    check_json_lines,
    read_json_lines,
    rows_of,
)
from vectorstore.ingest.rows import UNSET, Entry, Kind, Rejection, Row

ANNE = "11111111-1111-4111-8111-111111111111"
ONES = [1.0] * 512


def entries(*lines: bytes) -> list[Entry]:
    return list(rows_of(io.BytesIO(b"".join(lines)), "x.jsonl"))


def line(**fields: Any) -> bytes:
    return json.dumps(fields).encode() + b"\n"


def only(*lines: bytes) -> Entry:
    (found,) = entries(*lines)
    return found


def rejection(*lines: bytes) -> Rejection:
    found = only(*lines)
    assert isinstance(found, Rejection)
    return found


def row(*lines: bytes) -> Row:
    found = only(*lines)
    assert isinstance(found, Row)
    return found


TOO_LONG = f"{'x' * 27}...{'x' * 28}"
"""A longer text as messages show it."""


def test_row__every_field__is_read() -> None:
    found = row(line(user_id=ANNE, vector=ONES, location={"lat": -33.9, "lon": 18}, interests=["sea", "sea", "Ⅻ"], video_features=[0, 0.5]))
    assert (found.file, found.line, found.content.user_id) == ("x.jsonl", 1, UUID(ANNE))
    assert found.content.location == (-33.9, 18.0)
    assert found.content.interests == ("sea", "Ⅻ")
    assert found.content.vector is not UNSET and found.content.vector.tolist() == ONES
    assert found.content.video_features is not UNSET and found.content.video_features is not None
    assert found.content.video_features.tolist() == [0.0, 0.5]


def test_row__interests__are_normalized() -> None:
    content = row(line(user_id=ANNE, interests=["cafe\u0301", " caf\u00e9\t", "Caf\u00e9", "\u00a0sea  side\u3000", "\u2126"])).content
    assert content.interests == ("caf\u00e9", "Caf\u00e9", "sea  side", "\u03a9")


def test_row__omitted_fields__are_unset() -> None:
    content = row(line(user_id=ANNE)).content
    assert {content.vector, content.location, content.interests, content.video_features} == {UNSET}


def test_row__null__clears_the_field() -> None:
    content = row(line(user_id=ANNE, location=None, interests=None, video_features=None)).content
    assert (content.location, content.interests, content.video_features) == (None, (), None)


def test_row__largest_row__fits_into_a_line() -> None:
    """Each character of an interest may need two escapes."""
    interests = ["\U0001f30a" * 97 + f"{number:03}" for number in range(100)]
    features = [-1.2345678901234567e-38] * 1024
    content = row(line(user_id=ANNE, vector=features[:512], interests=interests, video_features=features)).content
    assert content.interests == tuple(interests)
    assert content.video_features is not UNSET and content.video_features is not None and len(content.video_features) == 1024


def test_row__interests__are_counted_after_normalization() -> None:
    content = row(line(user_id=ANNE, interests=["sea"] * 1000 + ["e\u0301" * 100 + " " * 100])).content
    assert content.interests == ("sea", "\u00e9" * 100)


@pytest.mark.parametrize("notation", [ANNE.upper(), ANNE.replace("-", "")])
def test_row__uuid_in_another_notation__is_read(notation: str) -> None:
    assert row(line(user_id=notation)).content.user_id == UUID(ANNE)


def test_rows__blank_lines__are_counted() -> None:
    found = entries(b"\n", line(user_id=ANNE), b"  \r\n", b"{\n", json.dumps({"user_id": ANNE}).encode())
    assert [(type(entry), entry.line) for entry in found] == [(Row, 2), (Rejection, 4), (Row, 5)]


def test_rows__byte_order_mark_and_windows_line_ends__are_skipped() -> None:
    found = entries(BYTE_ORDER_MARK + json.dumps({"user_id": ANNE}).encode() + b"\r\n", line(user_id=ANNE))
    assert [type(entry) for entry in found] == [Row, Row]


@pytest.mark.parametrize(
    ("text", "kind", "reason"),
    [
        (b'{"user_id": "x', Kind.NOT_JSON, "not JSON: Unterminated string starting at at character 13"),
        (b"{} {}", Kind.NOT_JSON, "not JSON: Extra data at character 4"),
        (b'{"a": "\xff"}', Kind.NOT_JSON, "not UTF-8: byte 8 of the line is 0xff"),
        (b"[" * 100_000, Kind.NOT_JSON, "JSON that cannot be read: it is nested too deeply, or a number has too many digits"),
        (
            b'{"vector": [' + b"9" * 5000 + b"]}",
            Kind.NOT_JSON,
            "JSON that cannot be read: it is nested too deeply, or a number has too many digits",
        ),
        (b"[]", Kind.NOT_AN_OBJECT, "not an object: a row is {...}"),
        (b"null", Kind.NOT_AN_OBJECT, "not an object: a row is {...}"),
        (b'{"user_id": "a", "user_id": "b"}', Kind.REPEATED_FIELD, "the field 'user_id' is repeated"),
        (b'{"location": {"lat": 1, "lat": 2, "lon": 3}}', Kind.REPEATED_FIELD, "the field 'lat' is repeated"),
    ],
)
def test_rejection__line_without_a_valid_object__keeps_the_text(text: bytes, kind: Kind, reason: str) -> None:
    found = rejection(text)
    assert (found.kind, found.reason) == (kind, reason)
    if kind != Kind.NOT_AN_OBJECT:
        assert found.original() == text.decode(errors="backslashreplace")


@pytest.mark.parametrize(
    ("fields", "kind", "reason"),
    [
        ({}, Kind.BAD_USER_ID, "user_id is missing"),
        ({"user_id": None}, Kind.BAD_USER_ID, "user_id is not a UUID: null"),
        ({"user_id": 7}, Kind.BAD_USER_ID, "user_id is not a UUID: 7"),
        ({"user_id": "anne"}, Kind.BAD_USER_ID, "user_id is not a UUID: 'anne'"),
        ({"user_id": "1_" + ANNE[2:]}, Kind.BAD_USER_ID, f"user_id is not a UUID: '1_{ANNE[2:]}'"),
        ({"user_id": "{" + ANNE + "}"}, Kind.BAD_USER_ID, f"user_id is not a UUID: '{{{ANNE}}}'"),
        (
            {"user_id": ANNE, "vektor": []},
            Kind.UNKNOWN_FIELD,
            "unknown field 'vektor': a row has user_id, vector, location, interests, video_features",
        ),
        ({"user_id": ANNE, "vector": None}, Kind.BAD_VECTOR, "vector is null: omit it to keep the stored one"),
        ({"user_id": ANNE, "vector": [1]}, Kind.BAD_VECTOR, "vector has 1 number, and must have 512"),
        ({"user_id": ANNE, "location": [1, 2]}, Kind.BAD_LOCATION, "location is not an object with lat and lon: [1, 2]"),
        ({"user_id": ANNE, "location": {"lat": 1}}, Kind.BAD_LOCATION, "location is not an object with lat and lon: {'lat': 1}"),
        ({"user_id": ANNE, "location": {"lat": 91, "lon": 0}}, Kind.BAD_LOCATION, "lat is 91, and must be from -90 to 90"),
        ({"user_id": ANNE, "location": {"lat": 0, "lon": -180.5}}, Kind.BAD_LOCATION, "lon is -180.5, and must be from -180 to 180"),
        ({"user_id": ANNE, "location": {"lat": True, "lon": 0}}, Kind.BAD_LOCATION, "lat is not a number: true"),
        ({"user_id": ANNE, "location": {"lat": None, "lon": 0}}, Kind.BAD_LOCATION, "lat is not a number: null"),
        ({"user_id": ANNE, "interests": "sea"}, Kind.BAD_INTERESTS, "interests is not a list: 'sea'"),
        ({"user_id": ANNE, "interests": [1]}, Kind.BAD_INTERESTS, "an interest must be a text that is not empty, not 1"),
        (
            {"user_id": ANNE, "interests": ["x" * 101]},
            Kind.BAD_INTERESTS,
            f"an interest has at most 100 characters, not 101: {TOO_LONG!r}",
        ),
        (
            {"user_id": ANNE, "interests": [str(number) for number in range(101)]},
            Kind.BAD_INTERESTS,
            "interests has 101 texts, more than 100",
        ),
        ({"user_id": ANNE, "interests": [" "]}, Kind.BAD_INTERESTS, "an interest must be a text that is not empty, not ' '"),
        ({"user_id": ANNE, "interests": [None]}, Kind.BAD_INTERESTS, "an interest must be a text that is not empty, not null"),
        ({"user_id": ANNE, "interests": ["a\0"]}, Kind.BAD_INTERESTS, "an interest has a character that PostgreSQL cannot store: 'a\\x00'"),
        (
            {"user_id": ANNE, "interests": ["\ud800"]},
            Kind.BAD_INTERESTS,
            "an interest has a character that PostgreSQL cannot store: '\\ud800'",
        ),
        (
            {"user_id": ANNE, "video_features": [1e39]},
            Kind.BAD_VIDEO_FEATURES,
            "video_features number 1 is 1e+39, beyond the range of 32-bit numbers",
        ),
        (
            {"user_id": ANNE, "video_features": [0.5] * 1025},
            Kind.BAD_VIDEO_FEATURES,
            "video_features has 1,025 numbers, more than 1,024",
        ),
        ({"user_id": ANNE, "video_features": 1}, Kind.BAD_VIDEO_FEATURES, "video_features is not a list of numbers"),
    ],
)
def test_rejection__bad_field__keeps_the_object(fields: dict[str, Any], kind: Kind, reason: str) -> None:
    found = rejection(line(**fields))
    assert (found.kind, found.reason, found.original()) == (kind, reason, fields)


def test_rejection__nan__keeps_the_text_because_json_has_no_nan() -> None:
    found = rejection(b'{"user_id": "%s", "vector": [NaN]}\r\n' % ANNE.encode())
    assert (found.reason, found.original()) == ("vector number 1 is NaN", f'{{"user_id": "{ANNE}", "vector": [NaN]}}')


def test_rejection__long_line__is_skipped_without_being_held_in_memory() -> None:
    long = b'{"user_id": "' + b"x" * (3 * LONGEST_LINE) + b'"}\n'
    first, second = entries(long, line(user_id=ANNE))
    assert isinstance(first, Rejection) and isinstance(second, Row)
    assert (first.line, first.kind, first.reason) == (1, Kind.TOO_LONG, "the line is longer than 1,048,576 bytes")
    assert first.original() == long[:SHOWN_OF_LONG_LINE].decode()
    assert second.line == 2


@given(st.binary(max_size=400))
def test_rows__any_bytes__give_one_entry_for_each_line(content: bytes) -> None:
    """Every line that is not blank gives one entry, and every original can be written as JSON."""
    found = entries(content)
    lines = content.removeprefix(BYTE_ORDER_MARK).split(b"\n")
    assert [entry.line for entry in found] == [number for number, text in enumerate(lines, 1) if text.strip()]
    for entry in found:
        json.dumps(entry.original(), allow_nan=False)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(("user_id", "vector", "location", "interests", "video_features", "other"), JSON)))
def test_rows__any_json__gives_a_row_or_a_rejection(fields: dict[str, Any]) -> None:
    found = only(json.dumps(fields).encode())
    json.dumps(found.original(), allow_nan=False)
    assert isinstance(found, Row | Rejection)


def test_check__missing_file__is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserFacingError, match=r"^'.*/none.jsonl' cannot be read: No such file or directory$"):
        check_json_lines(tmp_path / "none.jsonl")


def test_check__directory__is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserFacingError, match=r"cannot be read: Is a directory$"):
        check_json_lines(tmp_path)


def test_check__empty_file__is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(UserFacingError, match=r"^'.*/empty.jsonl' contains no rows\. Check the job that writes it\.$"):
        check_json_lines(tmp_path / "empty.jsonl")


def test_check__pipe__is_not_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.jsonl"
    os.mkfifo(pipe)
    check_json_lines(pipe)


def test_read__valid_file__returns_rows_with_the_given_name(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    path.write_bytes(line(user_id=ANNE))
    check_json_lines(path)
    assert [entry.file for entry in read_json_lines(path, "as given")] == ["as given"]
