"""Files in a folder, in memory and in S3: read, deleted, and read back. A missing store is never an empty one."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from findme.core.errors import StoreUnavailable
from privacy.file_stores.store import CHUNK_BYTES
from privacy.file_stores.stored_file import StoredFile, file_store
from tests.privacy.ledger.s3 import s3_bucket

Put = Callable[[str, bytes], StoredFile]
UNREACHABLE = r"^The file store '.+' cannot be reached \(.+\)\. Check FILE_STORES and its access rights\.$"


def put_into(url: str) -> Put:
    import fsspec

    def put(path: str, content: bytes) -> StoredFile:
        files, root = fsspec.core.url_to_fs(url, skip_instance_cache=True)
        files.makedirs(os.path.dirname(f"{root}/{path}"), exist_ok=True)  # noqa: PTH120  # a path of the store
        files.pipe_file(f"{root}/{path}", content)
        return StoredFile(file_store(url), path)

    return put


@pytest.fixture(params=["folder", "file", "memory", "s3"])
def put(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Put]:
    match request.param:
        case "folder":
            yield put_into(str(tmp_path))
        case "file":
            yield put_into(f"file://{tmp_path}")
        case "memory":
            yield put_into(f"memory://{tmp_path.name}/videos")
        case _:
            with s3_bucket() as url:
                yield put_into(f"{url}/videos")


def test_file__is_read(put: Put) -> None:
    content = os.urandom(CHUNK_BYTES + 5)
    file = put("2027/a b.mp4", content)
    assert file.size() == len(content)
    pieces = list(file.chunks())
    assert b"".join(pieces) == content
    assert max(map(len, pieces)) <= CHUNK_BYTES
    assert not file.is_gone()


def test_file__is_deleted(put: Put) -> None:
    file, other = put("2027/a.mp4", b"one"), put("2027/a.mp4.jpg", b"two")
    assert file.delete()
    assert (file.size(), file.is_gone()) == (None, True)
    assert not file.delete()
    assert other.size() == 3


def test_file__absent(put: Put) -> None:
    put("b.mp4", b"one")
    for path in ("a.mp4", "2027/a.mp4"):
        file = StoredFile(put("b.mp4", b"one").store, path)
        assert (file.size(), file.is_gone(), file.delete()) == (None, True, False)
        with pytest.raises(StoreUnavailable, match=UNREACHABLE):
            list(file.chunks())


def every_call(file: StoredFile) -> list[Callable[[], Any]]:
    return [file.size, file.delete, file.is_gone, lambda: list(file.chunks())]


def test_folder__missing__is_not_empty(tmp_path: Path) -> None:
    for call in every_call(StoredFile(file_store(str(tmp_path / "videos")), "a.mp4")):
        with pytest.raises(StoreUnavailable, match=r"videos' cannot be reached \(No such file or directory\)"):
            call()


def test_folder__a_link_is_refused(tmp_path: Path) -> None:
    """A link, for example one in an unpacked upload, must not lead an erasure to another file."""
    root, secret = tmp_path / "videos", tmp_path / "secret"
    root.mkdir()
    (secret / "inner").mkdir(parents=True)
    (secret / "key.pem").write_text("secret")
    (root / "link.mp4").symlink_to(secret / "key.pem")
    (root / "folder").symlink_to(secret)
    (root / "plain").mkdir()
    (root / "plain" / "inner").symlink_to(secret / "inner")
    os.mkfifo(root / "pipe")
    for path in ("link.mp4", "folder/key.pem", "plain/inner/x", "pipe", "plain"):
        for call in every_call(StoredFile(file_store(str(root)), path)):
            with pytest.raises(StoreUnavailable, match="leads to a link, a folder or a device: nothing was read or deleted"):
                call()
    assert (secret / "key.pem").read_text() == "secret"


def test_folder__opens_no_file_twice(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.mp4").write_bytes(b"one")
    before = len(list(Path("/proc/self/fd").iterdir()))
    file = StoredFile(file_store(str(tmp_path)), "a/b.mp4")
    for path in ("a/b.mp4", "a/c.mp4", "x/c.mp4"):
        assert StoredFile(file.store, path).size() in (3, None)
    list(file.chunks())
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_s3__missing_bucket__is_not_empty() -> None:
    with s3_bucket():
        for call in every_call(StoredFile(file_store("s3://another-bucket/videos"), "a.mp4")):
            with pytest.raises(StoreUnavailable, match=UNREACHABLE):
                call()


def test_s3__unavailable__is_one_line() -> None:
    with s3_bucket() as url:
        file = put_into(f"{url}/videos")("a.mp4", b"one")
    for call in every_call(file):
        with pytest.raises(StoreUnavailable, match=UNREACHABLE):
            call()


def test_s3__all_versions_are_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3

    with s3_bucket() as url:
        bucket, client = url.removeprefix("s3://"), boto3.client("s3")
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        put = put_into(f"{url}/videos")
        for content in (b"one", b"two"):
            file, _ = put("a.mp4", content), put("a.mp4.jpg", content)
        client.delete_object(Bucket=bucket, Key="videos/a.mp4")
        assert (file.size(), file.is_gone()) == (None, False)
        assert file.delete()
        assert file.is_gone()
        found = client.list_object_versions(Bucket=bucket)
        assert {version["Key"] for version in found["Versions"]} == {"videos/a.mp4.jpg"}
        assert len(found["Versions"]) == 2
        assert not file.delete()


def test_delete__a_store_that_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = put_into(str(tmp_path))("a.mp4", b"one")
    monkeypatch.setattr(type(file.store), "delete", lambda *_: True)
    with pytest.raises(StoreUnavailable, match=r"still has a file after its deletion\. Check the log of the store"):
        file.delete()


def test_delete__killed__is_completed_by_a_further_call(tmp_path: Path) -> None:
    file = put_into(str(tmp_path))("a.mp4", b"one")
    child = os.fork()
    if child == 0:
        file.store.delete("a.mp4")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert not file.delete()
    assert file.is_gone()


@pytest.mark.parametrize("url", ["gopher://host/videos", "s3://"])
def test_file_store__unknown__is_one_line(url: str) -> None:
    with pytest.raises(StoreUnavailable, match=UNREACHABLE):
        file_store(url).size("a.mp4")


def test_file_store__a_password_is_not_shown() -> None:
    with pytest.raises(StoreUnavailable) as raised:
        file_store("gopher://ann:secret@host/videos")
    assert str(raised.value).startswith("The file store 'gopher://host/videos' cannot be reached")
