"""What holds in every place for backups: a folder, S3, and another store of fsspec."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from pytest_django.fixtures import Settings

from backups.destinations.destination import MANIFEST, Destination
from backups.destinations.folder import FolderDestination
from backups.destinations.object_store import ObjectDestination
from backups.destinations.opening import open_destination
from backups.destinations.s3 import S3Destination
from findme.core.errors import StoreUnavailable, UserFacingError

LARGE = 20_000_000
"""More than two parts of an upload."""


def write(destination: Destination, name: str, file: str, content: bytes) -> None:
    with destination.write(name, file) as sink:
        for start in range(0, len(content), 65536):
            assert sink.write(content[start : start + 65536]) == len(content[start : start + 65536])


def read(destination: Destination, name: str, file: str) -> bytes:
    with destination.read(name, file) as source:
        return b"".join(iter(lambda: source.read(100_000), b""))


@pytest.mark.parametrize("size", [0, 1, 1000, LARGE])
def test_destination__what_was_written_is_read(size: int, url: str) -> None:
    content = (b"0123456789abcde" * (size // 15 + 1))[:size]
    destination = open_destination(url)
    write(destination, "b1", "dump.zst", content)
    again = open_destination(url)
    assert (again.names(), again.files("b1")) == (["b1"], {"dump.zst": size})
    assert read(again, "b1", "dump.zst") == content


def test_destination__an_empty_place(url: str) -> None:
    destination = open_destination(url)
    assert (destination.names(), destination.files("b1"), destination.remove_unfinished(timedelta(0))) == ([], {}, 0)
    destination.delete("b1")


def test_destination__names_and_files_in_order(url: str) -> None:
    destination = open_destination(url)
    for name, file in (("b2", "b"), ("b1", "a"), ("b2", "a")):
        write(destination, name, file, b"content")
    assert destination.names() == ["b1", "b2"]
    assert list(destination.files("b2")) == ["a", "b"]


def test_destination__no_such_file(url: str) -> None:
    destination = open_destination(url)
    write(destination, "b2", "other", b"")
    for name in ("b1", "b2"):
        with pytest.raises(UserFacingError) as raised, destination.read(name, "dump.zst"):
            pass
        assert str(raised.value) == f"The backup {name!r} in {url!r} has no file 'dump.zst'. Use another backup."


def test_destination__creates_a_file_once(url: str) -> None:
    destination = open_destination(url)
    assert destination.create("b1", MANIFEST, b"first")
    assert not destination.create("b1", MANIFEST, b"other")
    assert read(destination, "b1", MANIFEST) == b"first"


def test_destination__of_many_at_once__one_creates_the_file(url: str) -> None:
    results: list[bool] = []
    destination = open_destination(url)
    threads = [
        threading.Thread(target=lambda number=number: results.append(destination.create("b1", MANIFEST, b"%d" % number)))
        for number in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [False] * 4 + [True]


def write_a_part(destination: Destination, size: int, error: BaseException) -> None:
    piece = bytes(1_000_000)
    with destination.write("b1", "dump.zst") as sink:
        for start in range(0, size, len(piece)):
            sink.write(piece[: size - start])
        raise error


ERRORS = [KeyboardInterrupt(), OSError(5, "Input/output error"), UserFacingError("The source ended.")]


@pytest.mark.at_length("OSError")
@pytest.mark.parametrize("error", ERRORS, ids=["KeyboardInterrupt", "OSError", "UserFacingError"])
@pytest.mark.parametrize("size", [0, 1000, 60_000_000])
def test_write__an_exception_of_the_caller__leaves_no_file(size: int, error: BaseException, url: str) -> None:
    destination = open_destination(url)
    with pytest.raises(type(error)) as raised:
        write_a_part(destination, size, error)
    assert raised.value is error
    gc.collect()
    assert destination.files("b1") == {}
    assert destination.remove_unfinished(timedelta(0)) == 0
    write(destination, "b1", "dump.zst", b"whole")
    assert destination.files("b1") == {"dump.zst": 5}


def test_write__the_file_is_not_there_before_its_end(url: str) -> None:
    destination = open_destination(url)
    with destination.write("b1", "dump.zst") as sink:
        sink.write(bytes(LARGE))
        assert open_destination(url).files("b1") == {}
    assert destination.files("b1") == {"dump.zst": LARGE}


def test_delete__the_manifest_first(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is killed leaves no backup that looks complete."""
    destination = open_destination(url)
    for file in ("a", MANIFEST, "z"):
        write(destination, "b1", file, b"content")
        write(destination, "b2", file, b"content")
    delete_file = destination._delete_file
    calls = []

    def record(name: str, file: str) -> None:
        calls.append(file)
        delete_file(name, file)
        assert file not in destination.files(name)

    monkeypatch.setattr(destination, "_delete_file", record)
    destination.delete("b1")
    assert calls == [MANIFEST, "a", "z"]
    assert (destination.names(), destination.files("b1")) == (["b2"], {})
    assert len(destination.files("b2")) == 3
    destination.delete("b1")


ASKED: list[Callable[[Destination, str], object]] = [
    lambda destination, name: destination.files(name),
    lambda destination, name: destination.delete(name),
    lambda destination, name: destination.create(name, "a", b""),
    lambda destination, name: destination.create("b1", name, b""),
    lambda destination, name: destination.write("b1", name),
    lambda destination, name: destination.write(name, "a"),
    lambda destination, name: destination.read("b1", name),
    lambda destination, name: destination.read(name, "a"),
]


@pytest.mark.parametrize("name", ["", ".", "..", "../b2", "b1/..", "a/b", "/etc", "a\\b", ".hidden", "a\n", "a\0", "a b", "é", "x" * 252])
@pytest.mark.parametrize("ask", ASKED, ids=range(len(ASKED)))
def test_destination__a_name_that_leads_elsewhere__is_refused(ask: Callable[[Destination, str], object], name: str) -> None:
    with pytest.raises(UserFacingError, match="is no name of a backup or of a file in it"):
        ask(FolderDestination("/nonexistent"), name)


def test_open_destination__by_its_address(settings: Settings, s3_url: str) -> None:
    assert type(open_destination("backups")) is type(open_destination("file:///backups")) is FolderDestination
    assert type(open_destination("memory://a/b")) is ObjectDestination
    assert type(open_destination(s3_url)) is S3Destination


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "The destination is empty"),
        ("gopher://a/b", r"'gopher://a/b' is no address of a store \(ValueError\)\. Name a folder, or"),
        ("s3://bucket", "'s3://bucket' names a whole bucket. Name a folder in it, such as s3://bucket/backups."),
        ("s3://bucket/", "names a whole bucket"),
    ],
)
def test_open_destination__another_address__is_refused(url: str, message: str) -> None:
    with pytest.raises(UserFacingError, match=message) as raised:
        open_destination(url)
    assert not isinstance(raised.value, StoreUnavailable)


def test_destination__a_password_is_not_shown() -> None:
    assert "secret" not in open_destination("memory://user:secret@host/backups").name
