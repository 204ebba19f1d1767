import io
import json
import zipfile
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta, timezone
from hashlib import sha256
from typing import Any
from uuid import UUID

import pytest

from privacy.archive.zip_file import Archive, ExportedFile, Section, as_json

USER_ID = UUID("11111111-2222-4333-8444-555555555555")


class Pipe(io.RawIOBase):
    """A file that can only be written: no ``tell`` and no ``seek``."""

    def __init__(self) -> None:
        self.taken = bytearray()

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def write(self, piece: Any) -> int:
        self.taken += piece
        return len(piece)


def write_archive(file: Any, user_id: UUID, sections: Iterable[tuple[str, Section]]) -> list[ExportedFile]:
    with Archive(file, user_id) as archive:
        return [archive.write_section(name, section, {"type": ["array", "object"]}) for name, section in sections]


def rows(count: int) -> list[dict[str, Any]]:
    return [{"number": number} for number in range(count)]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_archive__a_list_of_objects(count: int) -> None:
    file = io.BytesIO()
    (written,) = write_archive(file, USER_ID, [("videos", iter(rows(count)))])
    with zipfile.ZipFile(file) as archive:
        content = archive.read("videos.json")
    assert json.loads(content) == rows(count)
    assert (written.name, written.entries, written.size, written.sha256) == (
        "videos.json",
        count,
        len(content),
        sha256(content).hexdigest(),
    )


def test_archive__an_object() -> None:
    file = io.BytesIO()
    (written,) = write_archive(file, USER_ID, [("profile", {"full_name": "Żofia"})])
    with zipfile.ZipFile(file) as archive:
        assert archive.read("profile.json").decode() == '{\n  "full_name": "Żofia"\n}\n'
    assert written.entries == 1


MEMBERS = [
    *("schemas/profile.schema.json", "profile.json", "schemas/videos.schema.json", "videos.json"),
    *("schemas/manifest.schema.json", "manifest.json"),
]


def test_archive__after_an_error__cannot_be_opened() -> None:
    """Otherwise an incomplete export would look complete."""
    file = io.BytesIO()
    with pytest.raises(ZeroDivisionError):
        write_archive(file, USER_ID, [("videos", rows(2)), ("calls", ({"number": 1 // number} for number in (1, 0)))])
    assert not zipfile.is_zipfile(file)


def test_archive__manifest_is_last_and_correct() -> None:
    file = io.BytesIO()
    before = datetime.now(UTC)
    write_archive(file, USER_ID, [("profile", {"id": USER_ID}), ("videos", rows(2))])
    with zipfile.ZipFile(file) as archive:
        assert archive.namelist() == MEMBERS
        manifest = json.loads(archive.read("manifest.json"))
        for listed in manifest["files"]:
            content = archive.read(listed["name"])
            assert (listed["size"], listed["sha256"]) == (len(content), sha256(content).hexdigest())
    assert (manifest["format"], manifest["version"], manifest["user_id"]) == ("FindMe personal data", 2, str(USER_ID))
    assert before <= datetime.fromisoformat(manifest["made_at"]) <= datetime.now(UTC)
    assert [listed["name"] for listed in manifest["files"]] == MEMBERS[:-1]
    assert {listed["name"]: listed["entries"] for listed in manifest["files"]}["videos.json"] == 2


def test_archive__does_not_seek() -> None:
    pipe = Pipe()
    write_archive(pipe, USER_ID, [("videos", rows(3))])
    with zipfile.ZipFile(io.BytesIO(pipe.taken)) as archive:
        assert json.loads(archive.read("videos.json")) == rows(3)


def test_archive__reads_rows_one_by_one() -> None:
    """The first row is written before the last one is read."""
    pipe, sizes = Pipe(), []

    def long_history() -> Any:
        for number in range(20_000):
            sizes.append(len(pipe.taken))
            yield {"number": str(number**9)}

    write_archive(pipe, USER_ID, [("calls", long_history())])
    assert 0 < sizes[10_000] < sizes[-1]


def test_as_json__times_are_utc_with_all_digits() -> None:
    in_warsaw = datetime(2025, 3, 1, 13, 30, 0, 123456, timezone(timedelta(hours=1)))
    assert as_json(in_warsaw) == '"2025-03-01T12:30:00.123456+00:00"'
    assert as_json(date(1995, 6, 15)) == '"1995-06-15"'
    assert as_json(USER_ID) == f'"{USER_ID}"'


def test_as_json__unknown_type__is_an_error() -> None:
    with pytest.raises(TypeError, match=r"<object object at .*> has no form in JSON"):
        as_json(object())
    assert as_json(float("nan")) == '"NaN"'
