"""The rejects file: who may read it, and which existing file it replaces."""

from __future__ import annotations

import hashlib
import io
import json
import os
import resource
import stat
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from findme.core.errors import UserFacingError
from vectorstore.ingest import rejects
from vectorstore.ingest.rejected_lines import RejectedLines
from vectorstore.ingest.rejects import RejectsFile, rejects_file
from vectorstore.ingest.rows import Kind, Rejection

BAD = Rejection("a.jsonl", 3, Kind.NOT_JSON, "not JSON", lambda: "{\ud800")


def test_rejects__each_rejection__is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "rejects.jsonl"
    with rejects_file(path, []) as write:
        write(BAD)
        assert path.read_bytes().endswith(b"}\n")  # each line is written at once, so a killed run leaves complete lines
        write(BAD)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [{"file": "a.jsonl", "line": 3, "reason": "not JSON", "row": "{\ud800"}] * 2


@pytest.mark.parametrize("umask", [0, 0o077])
def test_rejects__only_the_owner_may_read_the_file(tmp_path: Path, umask: int) -> None:
    path, before = tmp_path / "rejects.jsonl", os.umask(umask)
    try:
        with rejects_file(path, []) as write:
            write(BAD)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_rejects__file_of_an_earlier_run__is_replaced_even_without_rejections(tmp_path: Path) -> None:
    path = tmp_path / "rejects.jsonl"
    with rejects_file(path, []) as write:
        write(BAD)
    path.chmod(0o644)
    with rejects_file(path, []):
        pass
    assert path.read_bytes() == b""
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with rejects_file(path, []) as write:
        write(BAD)
    assert len(path.read_text().splitlines()) == 1


@pytest.mark.parametrize("content", ["precious\n", '{"user_id": "x"}\n', "[]", "[" * 100_000])
def test_rejects__another_file__is_never_replaced(tmp_path: Path, content: str) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(content)
    with pytest.raises(UserFacingError) as raised, rejects_file(path, []):
        pass
    assert str(raised.value) == f"{str(path)!r} exists and is not a rejects file of an earlier run. Name another file, or move it."
    assert path.read_text() == content


@pytest.mark.parametrize("content", [b"[" + b"[]," * 3_000_000 + b"[]]\n", b'{"file": "a", "line": 1, "reason": "' + b"x" * 9_000_000])
def test_rejects__large_other_file__is_read_only_at_its_beginning(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.json"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(UserFacingError, match="exists and is not a rejects file"), rejects_file(path, []):
            pass
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert path.stat().st_size == len(content)


@pytest.mark.parametrize("file", ["a.jsonl", '\\"/' + "\udcff" * 4000])
@pytest.mark.parametrize("end", [None, 150_000], ids=["whole", "torn"])
def test_rejects__file_of_an_earlier_run_with_a_long_row__is_replaced(tmp_path: Path, file: str, end: int | None) -> None:
    path = tmp_path / "rejects.jsonl"
    fields = {"file": file, "line": 1, "reason": 'a "quoted" reason', "row": "x" * 200_000}
    path.write_text(json.dumps(fields)[:end])
    with rejects_file(path, []):
        pass
    assert path.read_bytes() == b""


def test_rejects__input_file__is_never_replaced(tmp_path: Path) -> None:
    """This holds also for a rejects file, and for a link to it."""
    path, link = tmp_path / "rejects.jsonl", tmp_path / "link"
    with rejects_file(path, []) as write:
        write(BAD)
    link.symlink_to(path)
    with pytest.raises(UserFacingError, match="exists and is not a rejects file"), rejects_file(link, [path]):
        pass
    assert path.stat().st_size > 0


def test_rejects__directory__is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserFacingError, match="exists and is not a rejects file"), rejects_file(tmp_path, []):
        pass


def test_rejects__missing_folder__is_refused(tmp_path: Path) -> None:
    path = tmp_path / "none" / "x"
    with pytest.raises(UserFacingError) as raised, rejects_file(path, []):
        pass
    assert str(raised.value) == f"The rejects file {str(path)!r} cannot be written: No such file or directory."


@contextmanager
def full_disk() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_rejects__full_disk__is_reported(tmp_path: Path) -> None:
    path = tmp_path / "rejects.jsonl"
    with pytest.raises(UserFacingError) as raised, rejects_file(path, []) as write, full_disk():
        write(BAD)
    assert str(raised.value) == f"The rejects file {str(path)!r} cannot be written: File too large."


@pytest.mark.parametrize("continued", [False, True])
def test_rejects__partial_writes__are_completed(tmp_path: Path, continued: bool) -> None:
    """With little room on the disk, the system writes a part of the line."""

    class Slow(io.FileIO):
        def write(self, data: Any) -> int:
            return super().write(memoryview(data)[:7])

    path = tmp_path / "rejects.jsonl"
    with Slow(path, "w") as stream:
        if continued:
            RejectsFile(stream, path, 0, hashlib.sha256()).write(BAD)
        else:
            rejects._write(stream, RejectedLines({}), path, BAD)
    assert json.loads(path.read_text())["reason"] == BAD.reason


@pytest.mark.parametrize("kind", ["link", "link to rejects", "dangling link", "fifo", "device"])
def test_rejects__link_pipe_or_device__is_refused(kind: str, tmp_path: Path) -> None:
    path, victim = tmp_path / "rejects.jsonl", tmp_path / "victim"
    content = b"" if kind == "link" else b'{"file": "a", "line": 1, "reason": "b", "row": "c"}\n'
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/full")
    else:
        path.symlink_to(victim)
    if kind.startswith("link"):
        victim.write_bytes(content)
    with pytest.raises(UserFacingError) as raised, rejects_file(path, []):
        pass
    assert str(raised.value) == f"{str(path)!r} exists and is not a rejects file of an earlier run. Name another file, or move it."
    assert victim.read_bytes() == content if kind.startswith("link") else not victim.exists()


def test_rejects__hard_link_to_the_old_file__keeps_its_content(tmp_path: Path) -> None:
    path, victim = tmp_path / "rejects.jsonl", tmp_path / "victim"
    victim.touch()
    path.hardlink_to(victim)
    with path.open("rb") as reader, rejects_file(path, []) as write:
        write(BAD)
        assert reader.read() == b""
    assert victim.read_bytes() == b""
    assert path.stat().st_size > 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of two accounts")
def test_rejects__file_of_another_account__is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "rejects.jsonl"
    path.touch(mode=0o666)
    os.chown(path, 65534, 65534)
    with pytest.raises(UserFacingError, match="exists and is not a rejects file of an earlier run"), rejects_file(path, []) as write:
        write(BAD)
    assert (path.stat().st_uid, path.stat().st_size) == (65534, 0)


def test_rejects__link_created_meanwhile__is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, victim = tmp_path / "rejects.jsonl", tmp_path / "victim"
    victim.touch()

    def create_link(path: Path, inputs: object) -> None:
        path.symlink_to(victim)

    monkeypatch.setattr(rejects, "_require_replaceable", create_link)
    with pytest.raises(UserFacingError, match="is not an ordinary file"), rejects_file(path, []) as write:
        write(BAD)
    assert victim.read_bytes() == b""


def test_rejects__error_in_the_block__is_not_translated(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="of the block"), rejects_file(tmp_path / "x", []):
        raise OSError("of the block")


def test_rejects__no_file_requested__drops_rejections() -> None:
    with rejects_file(None, []) as write:
        write(BAD)
