"""Random changes of files, as by damage or an attacker."""

from __future__ import annotations

import io
import random
import zipfile
from collections.abc import Callable, Sequence

INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)
TOKENS = (
    b"null",
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"9" * 5000,
    b"[" * 3000,
    b'{"a":' * 3000,
    b'"\\ud800"',
    b'"\\u0000"',
    b"\0",
    b"\xff",
    b"\n",
    b'"user_id":1,',
    b"{}",
    b"[]",
    b'"' + b"x" * 200 + b'"',
    b"1e-46",
    b"-0",
    b"true",
)


def change_file(rng: random.Random, originals: Sequence[bytes], *, as_text: bool) -> bytes:
    """Return one of ``originals``, changed in one to four places."""
    content = bytearray(rng.choice(originals))
    changes = TEXT_CHANGES if as_text else CHANGES
    for _ in range(rng.randint(1, 4)):
        rng.choice(changes)(rng, content, originals)
    return bytes(content)


def change_zip_member(rng: random.Random, originals: Sequence[bytes]) -> bytes:
    """Return one of the zip files ``originals``, with one changed member and correct checksums."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(rng.choice(originals))) as old, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as new:
        changed_member = rng.choice(old.namelist())
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, change_file(rng, [content[:200], content], as_text=False) if name == changed_member else content)
    return stream.getvalue()


def _position(rng: random.Random, content: bytearray) -> int:
    """Return a position, often near the end: zip and Parquet keep their directories there."""
    position = rng.randrange(len(content) + 1)
    return max(len(content) - rng.randrange(600), 0) if rng.random() < 0.4 else position


def _flip(rng: random.Random, content: bytearray, _: Sequence[bytes]) -> None:
    if (position := _position(rng, content)) < len(content):
        content[position] ^= 1 << rng.randrange(8)


def _overwrite(rng: random.Random, content: bytearray, _: Sequence[bytes]) -> None:
    size = rng.choice((1, 2, 4, 8))
    position = _position(rng, content)
    number = (rng.choice(INTERESTING) + rng.choice((-1, 0, 0, 1))) % (1 << 8 * size)
    content[position : position + size] = number.to_bytes(size, rng.choice(("little", "big")))


def _delete(rng: random.Random, content: bytearray, _: Sequence[bytes]) -> None:
    position = _position(rng, content)
    del content[position : position + rng.choice((1, 4, 100, 2000))]


def _repeat(rng: random.Random, content: bytearray, _: Sequence[bytes]) -> None:
    position, size = _position(rng, content), rng.choice((1, 8, 300))
    content[position:position] = content[position : position + size] * rng.choice((1, 2, 50))


def _insert(rng: random.Random, content: bytearray, _: Sequence[bytes]) -> None:
    position = _position(rng, content)
    content[position:position] = rng.randbytes(rng.choice((1, 4, 100)))


def _cut(rng: random.Random, content: bytearray, _: Sequence[bytes]) -> None:
    del content[_position(rng, content) :]


def _splice(rng: random.Random, content: bytearray, originals: Sequence[bytes]) -> None:
    other = rng.choice(originals)
    content[_position(rng, content) :] = other[rng.randrange(len(other)) :]


def _token(rng: random.Random, content: bytearray, _: Sequence[bytes]) -> None:
    position = _position(rng, content)
    content[position : position + rng.choice((0, 1, 10))] = rng.choice(TOKENS)


def _value(rng: random.Random, content: bytearray, _: Sequence[bytes]) -> None:
    """Replace a value by a token, so that the line often stays valid JSON."""
    starts = [position for position, byte in enumerate(content) if byte in b":,["]
    if starts:
        position = rng.choice(starts) + 1
        ends = [end for end in (content.find(mark, position) for mark in b",]}") if end >= 0]
        content[position : min(ends, default=position)] = rng.choice(TOKENS)


CHANGES: Sequence[Callable[[random.Random, bytearray, Sequence[bytes]], None]] = (
    _flip,
    _flip,
    _overwrite,
    _overwrite,
    _delete,
    _repeat,
    _insert,
    _cut,
    _splice,
)
TEXT_CHANGES = (*CHANGES, _token, _value, _value, _value, _value)
