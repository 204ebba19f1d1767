"""The way of a file into a backup and out of it: any bytes come back, and any change of the file is refused."""

from __future__ import annotations

import io
import os
import random
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyrage
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backups.streams import load as loading
from backups.streams.keys import Identity, Recipient
from backups.streams.load import load
from backups.streams.store import store
from backups.streams.stored_file import StoredFile
from backups.streams.zstandard import compressor
from findme.core.errors import UserFacingError

KEY = pyrage.x25519.Identity.generate()
IDENTITY = Identity(KEY)
RECIPIENT = Recipient(str(KEY.to_public()), KEY.to_public())
ENCRYPTED = pytest.mark.parametrize("recipients", [(), (RECIPIENT,)], ids=["plain", "encrypted"])
CONTENTS = st.one_of(
    st.binary(max_size=300),
    st.builds(lambda seed, size: random.Random(seed).randbytes(size), st.integers(0, 9), st.integers(0, 300_000)),
    st.builds(lambda unit, times: unit * times, st.binary(max_size=20), st.integers(0, 20_000)),
)


class Pipe:
    """A source that returns at most as many bytes as its sizes say, in turn, and a sink that takes no more."""

    def __init__(self, content: bytes = b"", sizes: tuple[int, ...] = (2**20,)) -> None:
        self.content = io.BytesIO(content)
        self.sizes = sizes
        self.calls = 0

    def most(self) -> int:
        self.calls += 1
        return self.sizes[self.calls % len(self.sizes)]

    def read(self, size: int) -> bytes:
        return self.content.read(min(size, self.most()))

    def write(self, data: bytes) -> int:
        return self.content.write(data[: self.most()])


def binary(file: Any) -> BinaryIO:
    return cast("BinaryIO", file)


def stored(content: bytes, recipients: tuple[Recipient, ...] = ()) -> tuple[bytes, StoredFile]:
    sink = io.BytesIO()
    found = store(io.BytesIO(content), sink, recipients)
    return sink.getvalue(), found


def loaded(file: bytes, expected: StoredFile | None, identities: tuple[Identity, ...] = (IDENTITY,)) -> bytes:
    sink = io.BytesIO()
    load(io.BytesIO(file), sink, identities, expected, name="a.zst")
    return sink.getvalue()


def refused(file: bytes, expected: StoredFile | None, identities: tuple[Identity, ...] = (IDENTITY,)) -> str:
    with pytest.raises(UserFacingError) as raised:
        loaded(file, expected, identities)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@ENCRYPTED
@given(content=CONTENTS, sizes=st.lists(st.integers(1, 200_000), min_size=1, max_size=3))
def test_streams__any_bytes_in_any_pieces_come_back(recipients: tuple[Recipient, ...], content: bytes, sizes: list[int]) -> None:
    pieces = tuple(max(size, len(content) // 100) for size in sizes)
    sink = Pipe(sizes=pieces)
    found = store(binary(Pipe(content, pieces)), binary(sink), recipients)
    file = sink.content.getvalue()
    assert (found.size, found.plain_size) == (len(file), len(content))
    assert file.startswith(b"age-encryption.org/v1\n") == bool(recipients)
    back = Pipe(sizes=pieces)
    assert load(binary(Pipe(file, pieces)), binary(back), [IDENTITY], found, name="a.zst") == found
    assert back.content.getvalue() == content
    assert loaded(file, None) == content


@ENCRYPTED
@given(content=CONTENTS, at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_load__a_flipped_bit__is_refused(recipients: tuple[Recipient, ...], content: bytes, at: float, bit: int) -> None:
    file, found = stored(content, recipients)
    changed = bytearray(file)
    changed[int(at * len(file))] ^= 1 << bit
    refused(bytes(changed), found)
    if recipients:
        refused(bytes(changed), None)


@ENCRYPTED
@given(content=CONTENTS, at=st.floats(0, 1, exclude_max=True))
def test_load__a_cut__is_refused(recipients: tuple[Recipient, ...], content: bytes, at: float) -> None:
    file, found = stored(content, recipients)
    for expected in (found, None):
        for end in {int(at * len(file)), len(file) - 1, 0}:
            assert "is damaged" in refused(file[:end], expected)


@ENCRYPTED
@given(content=CONTENTS, more=st.binary(min_size=1, max_size=300))
def test_load__appended_bytes__are_refused(recipients: tuple[Recipient, ...], content: bytes, more: bytes) -> None:
    file, found = stored(content, recipients)
    for expected in (found, None):
        for appended in (more, file, b"\0"):
            assert "is damaged" in refused(file + appended, expected)


@pytest.mark.parametrize("chunks", [1, 2, 3])
def test_load__cut_between_two_chunks_of_age__is_refused(chunks: int) -> None:
    """Each chunk is authenticated, and so is which one is the last."""
    file, found = stored(random.Random(1).randbytes(300_000), (RECIPIENT,))
    header = file.index(b"\n", file.index(b"\n--- ") + 1) + 1 + 16
    assert "is damaged" in refused(file[: header + chunks * (65536 + 16)], found)


@ENCRYPTED
def test_load__another_file__is_refused(recipients: tuple[Recipient, ...]) -> None:
    file, found = stored(b"first", recipients)
    other, found_other = stored(b"other", recipients)
    same_size = replace(found, size=found_other.size)  # age adds a few random bytes to its header
    assert refused(other, same_size) == (
        "'a.zst' is damaged: it is not the file of the manifest. Use another backup, or another copy of this one."
    )
    assert loaded(other, None) == b"other"
    assert loaded(file, found) == b"first"


def test_load__another_checksum__is_refused() -> None:
    file, found = stored(b"content", (RECIPIENT,))
    for expected in (replace(found, sha256="0" * 64), replace(found, plain_sha256="0" * 64)):
        assert "it is not the file of the manifest" in refused(file, expected)


def test_load__wrong_or_missing_key__names_the_option() -> None:
    file, found = stored(b"content", (RECIPIENT,))
    other = Identity(pyrage.x25519.Identity.generate())
    assert refused(file, found, ()) == "'a.zst' is encrypted. Name the file with the key of one of its recipients with --identity."
    assert refused(file, found, (other,)) == (
        "No key of the identity file opens 'a.zst'. Name the key of one of its recipients with --identity."
    )
    assert loaded(file, found, (other, IDENTITY)) == b"content"


def test_store__every_recipient_can_read() -> None:
    other = pyrage.x25519.Identity.generate()
    file, found = stored(b"content", (RECIPIENT, Recipient("", other.to_public())))
    assert loaded(file, found, (IDENTITY,)) == loaded(file, found, (Identity(other),)) == b"content"


@ENCRYPTED
def test_load__a_bomb__is_refused_at_the_size_of_the_manifest(recipients: tuple[Recipient, ...]) -> None:
    file, found = stored(bytes(50_000_000), recipients)
    assert len(file) < 10_000
    sink = Pipe(sizes=(2**20,))
    with pytest.raises(UserFacingError, match="its content is longer than the manifest says"):
        load(io.BytesIO(file), binary(sink), [IDENTITY], replace(found, plain_size=300_000), name="a.zst")
    assert sink.content.tell() <= 300_000


def test_load__a_file_longer_than_the_manifest_says__is_not_read_to_its_end() -> None:
    _, found = stored(b"content")
    source = io.BytesIO(bytes(50_000_000))
    with pytest.raises(UserFacingError, match="it is longer than the manifest says"):
        load(source, io.BytesIO(), [], found, name="a.zst")
    assert source.tell() < 1_000_000


def test_load__a_header_without_end__is_not_kept_in_memory() -> None:
    file = b"age-encryption.org/v1\n-> X " + b"a" * 10_000_000
    source = io.BytesIO(file)
    with pytest.raises(UserFacingError, match="its header has no end"):
        load(source, io.BytesIO(), [IDENTITY], None, name="a.zst")
    assert source.tell() < 2 * loading.LARGEST_HEADER


def test_load__a_frame_that_asks_for_much_memory__is_refused() -> None:
    frame = bytes([0x28, 0xB5, 0x2F, 0xFD, 0, 17 << 3]) + b"\x01\0\0"  # a window of 2**27 bytes, and an empty last block
    assert "it cannot be decompressed" in refused(frame, None)


def test_load__two_frames__are_refused() -> None:
    frame = compressor()
    two = frame.compress(b"one") + frame.flush()
    assert "it continues after its end" in refused(two * 2, None)


class Breaks:
    """A source and a sink that raise an exception after some calls."""

    def __init__(self, error: BaseException, after: int, content: bytes = b"") -> None:
        self.error = error
        self.remaining = after
        self.file = io.BytesIO(content)

    def step(self) -> None:
        if self.remaining == 0:
            raise self.error
        self.remaining -= 1

    def read(self, size: int) -> bytes:
        self.step()
        return self.file.read(size)

    def write(self, data: bytes) -> int:
        self.step()
        return self.file.write(data)


ERRORS = [
    KeyboardInterrupt(),
    SystemExit(3),
    OSError(28, "No space left on device"),
    UserFacingError("The disk is full."),
    pyrage.DecryptError("x"),
]
BROKEN = pytest.mark.parametrize("error", ERRORS, ids=["KeyboardInterrupt", "SystemExit", "OSError", "UserFacingError", "DecryptError"])
AFTER = pytest.mark.parametrize("after", [0, 1])


@ENCRYPTED
@AFTER
@BROKEN
@pytest.mark.parametrize("side", ["source", "sink"])
def test_streams__an_exception_of_either_side__is_raised_as_it_is(
    side: str, error: BaseException, after: int, recipients: tuple[Recipient, ...]
) -> None:
    content = random.Random(1).randbytes(1_000_000)
    file, found = stored(content, recipients)
    threads = threading.active_count()

    def sides(whole: bytes) -> tuple[BinaryIO, BinaryIO]:
        return (
            binary(Breaks(error, after, whole) if side == "source" else io.BytesIO(whole)),
            binary(Breaks(error, after) if side == "sink" else io.BytesIO()),
        )

    with pytest.raises(type(error)) as raised:
        store(*sides(content), recipients)
    assert raised.value is error
    with pytest.raises(type(error)) as raised:
        load(*sides(file), [IDENTITY], found, name="a.zst")
    assert raised.value is error
    assert threading.active_count() == threads


def test_store__the_source_is_a_pipe_of_a_program() -> None:
    with subprocess.Popen(["head", "--bytes=3000000", "/dev/zero"], stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        sink = io.BytesIO()
        found = store(binary(program.stdout), sink, [RECIPIENT])
    assert found.plain_size == 3_000_000
    assert loaded(sink.getvalue(), found) == bytes(3_000_000)


def test_store__a_sink_that_is_a_pipe_of_an_ended_program__is_an_error() -> None:
    with subprocess.Popen(["true"], stdin=subprocess.PIPE, bufsize=0) as program:
        program.wait()
        assert program.stdin is not None
        with pytest.raises(BrokenPipeError):
            store(io.BytesIO(os.urandom(1_000_000)), binary(program.stdin), [RECIPIENT])


def test_store__a_source_without_bytes_at_the_moment__is_no_end() -> None:
    """An unbuffered source that does not block returns None. To take that for the end would store a part as the whole."""
    reading, writing = os.pipe2(os.O_NONBLOCK)
    with os.fdopen(reading, "rb", buffering=0) as source, os.fdopen(writing, "wb", buffering=0) as other:
        other.write(b"the first part")
        with pytest.raises(TypeError):
            store(binary(source), io.BytesIO(), [])


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    before = set(Path("/proc/self/fd").iterdir())
    yield
    assert set(Path("/proc/self/fd").iterdir()) <= before
