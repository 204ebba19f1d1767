"""Backups in S3: killed processes, an unavailable or denying store, and uploads that were not ended."""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import pytest

from backups.destinations.object_store import LARGEST_FILE_BYTES, LARGEST_PART_BYTES, PART_BYTES, part_bytes
from backups.destinations.opening import open_destination
from backups.destinations.s3 import S3Destination
from findme.core.errors import StoreUnavailable, UserFacingError
from tests.privacy.ledger.s3 import s3_bucket
from tests.support.processes import run_program
from tests.support.seeds import kill_seeds
from tests.support.untraced import untraced

KILLED = """
import os, signal, sys
from s3fs import S3FileSystem
from backups.destinations.opening import open_destination

url, size, call, moment = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
original, calls = S3FileSystem._call_s3, -1

async def killing(*arguments, **options):
    global calls
    calls += 1
    mine = calls
    if mine == call and moment == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    answer = await original(*arguments, **options)
    if mine == call:
        os.kill(os.getpid(), signal.SIGKILL)
    return answer

S3FileSystem._call_s3 = killing
S3FileSystem.call_s3 = __import__("fsspec").asyn.sync_wrapper(killing)
with open_destination(url).write("b1", "dump.zst") as sink:
    for start in range(0, size, 1_000_000):
        sink.write(bytes(min(1_000_000, size - start)))
"""


def uploads(url: str) -> list[str]:
    bucket = url.removeprefix("s3://").partition("/")[0]
    return [upload["Key"] for upload in boto3.client("s3").list_multipart_uploads(Bucket=bucket).get("Uploads", [])]


def start_upload(url: str, key: str) -> str:
    bucket = url.removeprefix("s3://").partition("/")[0]
    return str(boto3.client("s3").create_multipart_upload(Bucket=bucket, Key=key)["UploadId"])


@pytest.mark.long
@pytest.mark.parametrize("seed", kill_seeds(4))
def test_write__killed__leaves_nothing_that_looks_like_a_file(seed: int, s3_url: str) -> None:
    """Requests of a large file: start, seven parts of 9 MB, end. Those of a small one: start, a part, end."""
    chosen = random.Random(seed)
    size, requests = chosen.choice([(1000, 3), (60_000_000, 9)])
    call = chosen.randrange(requests)
    moment = chosen.choice(["before", "after"])
    ran = run_program(untraced(), "-c", KILLED, s3_url, size, call, moment)
    assert ran.returncode == -signal.SIGKILL, (size, call, moment, ran.stdout, ran.stderr)
    destination = open_destination(s3_url)
    is_complete = call == requests - 1 and moment == "after"
    assert destination.files("b1") == ({"dump.zst": size} if is_complete else {})
    is_open = not is_complete and (call, moment) != (0, "before")
    assert uploads(s3_url) == ["backups/b1/dump.zst"] * is_open
    assert destination.remove_unfinished(timedelta(0)) == int(is_open)
    assert uploads(s3_url) == []


def test_remove_unfinished__only_files_of_backups_here(s3_url: str) -> None:
    others = ["backups/a", "backups/b1/c/d", "backups2/b1/a", "other/b1/a", "backups/.b1/a", "b1/a"]
    for key in [*others, "backups/b1/a", "backups/b2/b"]:
        start_upload(s3_url, key)
    assert open_destination(s3_url).remove_unfinished(timedelta(0)) == 2
    assert sorted(uploads(s3_url)) == sorted(others)


def test_remove_unfinished__no_process_writes_any_more__at_any_age(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("backups/b1-ours/a", "backups/b2-theirs/a"):
        start_upload(s3_url, key)
    begun(monkeypatch, timedelta(seconds=-60))  # the clock of the store is a minute ahead
    assert open_destination(s3_url).remove_unfinished(timedelta(0)) == 0
    assert open_destination(s3_url).remove_unfinished(None, "-ours") == 1
    assert uploads(s3_url) == ["backups/b2-theirs/a"]


def begun(monkeypatch: pytest.MonkeyPatch, age: timedelta) -> None:
    """Let all uploads have this age. Those of moto began in 2010."""
    listed = S3Destination._uploads

    def aged(self: S3Destination, ending: str) -> Iterator[dict[str, Any]]:
        for one in listed(self, ending):
            yield one | {"Initiated": datetime.now(UTC) - age}

    monkeypatch.setattr(S3Destination, "_uploads", aged)


def test_remove_unfinished__an_upload_that_can_still_run_stays(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    start_upload(s3_url, "backups/b1/a")
    begun(monkeypatch, timedelta(hours=23))
    assert open_destination(s3_url).remove_unfinished(timedelta(days=1)) == 0
    assert uploads(s3_url) == ["backups/b1/a"]
    assert open_destination(s3_url).remove_unfinished(timedelta(hours=22)) == 1


def test_remove_unfinished__its_last_part_counts(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upload of many hours is not older than its last part."""
    upload = start_upload(s3_url, "backups/b1/a")
    bucket = s3_url.removeprefix("s3://").partition("/")[0]
    boto3.client("s3").upload_part(Bucket=bucket, Key="backups/b1/a", UploadId=upload, PartNumber=1, Body=b"part")
    begun(monkeypatch, timedelta(days=2))
    assert open_destination(s3_url).remove_unfinished(timedelta(days=1)) == 0
    assert open_destination(s3_url).remove_unfinished(timedelta(0)) == 1


def test_delete__with_all_versions(s3_url: str) -> None:
    """A backup that a versioned bucket keeps has the data of erased users."""
    client, bucket = boto3.client("s3"), s3_url.removeprefix("s3://").partition("/")[0]
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    destination = open_destination(s3_url)
    for _ in range(2):
        with destination.write("b1", "dump.zst") as sink:
            sink.write(b"content")
    destination.delete("b1")
    found = client.list_object_versions(Bucket=bucket)
    assert (found.get("Versions", []), found.get("DeleteMarkers", [])) == ([], [])


def test_s3__stopped_while_it_is_written__is_one_line() -> None:
    with ExitStack() as stack:
        destination = open_destination(f"{stack.enter_context(s3_bucket())}/backups")

        def write() -> None:
            with destination.write("b1", "dump.zst") as sink:
                sink.write(bytes(PART_BYTES))
                stack.close()
                sink.write(bytes(PART_BYTES))

        with pytest.raises(StoreUnavailable, match=r"^'s3://.*/backups' cannot be reached \(.+\)\. Check the address and the network"):
            write()


def test_s3__stopped_while_it_is_read__is_one_line(s3_url: str) -> None:
    with ExitStack() as stack:
        destination = open_destination(f"{stack.enter_context(s3_bucket())}/backups")
        with destination.write("b1", "dump.zst") as sink:
            sink.write(bytes(3 * PART_BYTES))

        def read() -> None:
            with destination.read("b1", "dump.zst") as source:
                source.read(1000)
                stack.close()
                while source.read(PART_BYTES):
                    pass

        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            read()


def test_s3__no_such_bucket__is_not_empty(s3_url: str) -> None:
    destination = open_destination("s3://another-bucket/backups")
    for ask in (destination.names, lambda: destination.files("b1"), lambda: destination.remove_unfinished(timedelta(0))):
        with pytest.raises(UserFacingError, match=r"^'s3://another-bucket/backups' does not exist"):
            ask()
    with pytest.raises(UserFacingError, match="does not exist"), destination.read("b1", "dump.zst"):
        pass
    with pytest.raises(UserFacingError, match="does not exist"), destination.write("b1", "dump.zst"):
        pass


class Denies(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # the client waits for "100 Continue"

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer  # noqa: N815  # the names of http.server

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def denying_server() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Denies)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_s3__denied__is_one_line(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with denying_server() as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        destination = open_destination("s3://bucket/backups")
        asked: list[Any] = [
            destination.names,
            lambda: destination.create("b1", "a", b"content"),
            lambda: destination.remove_unfinished(timedelta(0)),
            lambda: destination.read("b1", "a").__enter__(),
        ]
        for ask in asked:
            with pytest.raises(
                UserFacingError, match=r"^'s3://bucket/backups' refuses the access \(.+\)\. Check the access keys"
            ) as raised:
                ask()
            assert not isinstance(raised.value, StoreUnavailable)
        with pytest.raises(UserFacingError, match="refuses the access"), destination.write("b1", "a") as sink:
            sink.write(b"content")


def test_part_bytes__10_000_parts_hold_the_largest_file() -> None:
    sizes: list[int] = []
    written = 0
    while len(sizes) < 10_000:
        sizes.append(part_bytes(written))
        written += sizes[-1]
    assert (sizes[0], sizes[-1]) == (PART_BYTES, LARGEST_PART_BYTES)
    assert sizes == sorted(sizes)
    assert written > LARGEST_FILE_BYTES + LARGEST_PART_BYTES


def test_write__larger_than_s3_takes__is_refused(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backups.destinations.object_store.LARGEST_FILE_BYTES", 1000)
    destination = open_destination(s3_url)

    def write() -> None:
        with destination.write("b1", "dump.zst") as sink:
            for _ in range(3):
                sink.write(bytes(700))

    with pytest.raises(UserFacingError, match="A file of the backup has more than 1,000 bytes"):
        write()
    assert destination.files("b1") == {}
